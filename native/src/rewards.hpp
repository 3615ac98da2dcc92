// The rewards that an agent can learn from, by name, as in a3g/game/rewards.py, which explains them.
//
// A new reward is a class here with the functions of these, at the end of `Reward`. Nothing else knows it.
#pragma once

#include <cstdint>
#include <string_view>
#include <variant>
#include <vector>

#include "memory.hpp"

namespace a3g {

class A3GReward {
 public:
  static constexpr std::string_view kName = "a3g";

  void start(const Ram& ram);
  void frame(const Ram&) {}
  float step(const Ram& ram, int new_ground);
  float finish();
  float failure();

  // Visits what a saved game holds.
  template <typename Archive>
  void fields(Archive& archive) {
    archive.list(paid_, [&](Checkpoint& each) {
      archive(each.area, 0, archive.kAny);
      archive(each.page, 0, 0xFF);
    });
    archive(maze_.ahead, 0, 1);
    for (int* number : {&maze_.right_turns, &maze_.turns, &maze_.x}) archive(*number, archive.kLeast, archive.kMost);
  }

 private:
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
  float right_turn(const Ram& ram);

  std::vector<Checkpoint> paid_;
  Maze maze_;
};

class GymReward {
 public:
  static constexpr std::string_view kName = "gym";

  void start(const Ram& ram);
  void frame(const Ram& ram);
  float step(const Ram&, int) { return finish(); }
  float finish();
  float failure();

  template <typename Archive>
  void fields(Archive& archive) {
    archive(x_, archive.kLeast, archive.kMost);
    archive(clock_, archive.kLeast, archive.kMost);
  }

 protected:
  int x() const { return x_; }

 private:
  int x_ = 0, clock_ = 0;
  // Of the agent step under way: the frames before the last one, clipped, and the last one, not clipped yet.
  int earlier_ = 0, last_ = 0;
};

class GymBonusReward : public GymReward {
 public:
  static constexpr std::string_view kName = "gym-bonus";

  float finish();
  float failure();
};

class GymForwardReward : public GymReward {
 public:
  static constexpr std::string_view kName = "gym-forward";

  void start(const Ram& ram);
  float step(const Ram&, int);
  float finish();
  float failure();

  template <typename Archive>
  void fields(Archive& archive) {
    GymReward::fields(archive);
    archive(x_before_, archive.kLeast, archive.kMost);
  }

 private:
  float direction();

  int x_before_ = 0;  // where the agent step under way began
};

// Saved games hold the index of the reward: a new one comes last.
using Reward = std::variant<A3GReward, GymReward, GymBonusReward, GymForwardReward>;

// Throws std::invalid_argument if there is no reward of that name.
Reward make_reward(std::string_view name);

// In the order of `Reward`.
std::vector<std::string_view> reward_names();

}  // namespace a3g
