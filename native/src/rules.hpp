// The rules of an episode and its reward, as in a3g/game/rules.py, rewards.py and memory.py. Those files are
// the reference and explain each rule; tests/test_native_vector.py compares the two.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "lane.hpp"

namespace a3g {

// A world and a stage in it, both counted from 1; {0, 0} is none.
struct Stage {
  int world = 0, stage = 0;
  bool operator==(const Stage&) const = default;
};

enum class Outcome : int { none, cleared, died, warped, timeout };

struct StepResult {
  float reward = 0;  // in pixels of new ground
  Outcome outcome = Outcome::none;
  bool game_over = false;
};

// Pays for ground never covered before, and for right turns in mazes.
class ForwardReward {
 public:
  void begin(const Ram& ram);
  float step(const Ram& ram);
  int progress() const { return progress_; }

 private:
  friend struct GameState;

  struct Furthest {
    std::uint32_t area;
    int x;
  };
  struct Checkpoint {
    std::uint32_t area;
    int page;
    bool operator==(const Checkpoint&) const = default;
  };
  struct Maze {
    bool ahead = false;
    int right_turns = 0, turns = 0, x = 0;
  };
  static Maze maze(const Ram& ram);
  float right_turn(const Ram& ram, std::uint32_t area, int x);

  int progress_ = 0;
  std::vector<Furthest> furthest_;
  std::vector<Checkpoint> paid_;
  Maze maze_;
};

// One attempt at a stage, or at the whole game with its lives.
class Episode {
 public:
  // Begins with the lane's game as it is now. stage {0, 0}: the whole game.
  void begin(const Lane& lane, Stage stage, int time_per_stage);

  // Holds the buttons for `frames` frames, fewer if Mario dies or reaches the end of the stage. Then runs out
  // scenes without control. The last `shown` of the frames are drawn at once, because they are usually the
  // ones that the agent sees.
  // Throws std::runtime_error if Mario does not come back under control.
  StepResult step(Lane& lane, std::uint8_t buttons, int frames, int shown);

  Stage attempted() const { return attempted_; }
  int progress() const { return reward_.progress(); }

 private:
  friend struct GameState;

  void begin_attempt(const Ram& ram);
  StepResult lose_life(Lane& lane, Outcome outcome);
  StepResult finish_stage(Lane& lane, Stage now);
  void run_out(Lane& lane, bool ignore_death, bool ignore_end);

  Stage stage_, attempted_;
  int time_per_stage_ = 0;
  int clock_at_start_ = 0;
  ForwardReward reward_;
};

// The game variables of gym-super-mario-bros, then five of this project, in this order.
inline constexpr std::array<std::string_view, 15> kVariables = {
    "coins", "flag_get", "life",    "score",     "stage",    "status",        "time",         "world",
    "x_pos", "y_pos",    "outcome", "game_over", "progress", "attempt_world", "attempt_stage"};

// Writes the first ten of them.
void decode(const Ram& ram, std::int32_t* variables);

}  // namespace a3g
