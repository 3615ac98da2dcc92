// The rules of an episode, as in a3g/game/rules.py. That file is the reference and explains each rule;
// tests/test_native_vector.py compares the two.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

#include "lane.hpp"
#include "memory.hpp"
#include "progress.hpp"
#include "rewards.hpp"

namespace a3g {

enum class Outcome : int { none, cleared, died, warped, timeout };

struct StepResult {
  float reward = 0;  // in the unit of the episode's reward
  Outcome outcome = Outcome::none;
  bool game_over = false;
};

// One attempt at a stage, or at the whole game with its lives.
class Episode {
 public:
  explicit Episode(Reward reward) : reward_(std::move(reward)) {}

  // Begins with the lane's game as it is now. stage {0, 0}: the whole game.
  void begin(const Lane& lane, Stage stage, int time_per_stage);

  // Holds the buttons for `frames` frames, fewer if Mario dies or reaches the end of the stage. Then runs out
  // scenes without control. The last `shown` of the frames are drawn at once, because they are usually the
  // ones that the agent sees.
  // Throws std::runtime_error if Mario does not come back under control.
  StepResult step(Lane& lane, std::uint8_t buttons, int frames, int shown);

  Stage attempted() const { return attempted_; }
  int progress() const { return progress_.pixels(); }

 private:
  friend struct GameState;

  void begin_attempt(const Ram& ram);
  template <typename Kind>
  StepResult step_for(Kind& reward, Lane& lane, std::uint8_t buttons, int frames, int shown);
  // Both return `reward` with the rest of the result.
  StepResult lose_life(Lane& lane, float reward, Outcome outcome);
  StepResult finish_stage(Lane& lane, float reward, Stage now);
  void run_out(Lane& lane, bool ignore_death, bool ignore_end);

  Stage stage_, attempted_;
  int time_per_stage_ = 0;
  int clock_at_start_ = 0;
  Progress progress_;
  Reward reward_;
};

// The game variables of gym-super-mario-bros, then five of this project, in this order.
inline constexpr std::array<std::string_view, 15> kVariables = {
    "coins", "flag_get", "life",    "score",     "stage",    "status",        "time",         "world",
    "x_pos", "y_pos",    "outcome", "game_over", "progress", "attempt_world", "attempt_stage"};

// Writes the first ten of them.
void decode(const Ram& ram, std::int32_t* variables);

}  // namespace a3g
