#include "rewards.hpp"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <stdexcept>
#include <string>
#include <utility>

namespace a3g {
namespace {

constexpr int kMazeSetback = 1024;

// World and page of the checkpoints that can be passed, both counted from 0.
struct MazeCheckpoint {
  std::uint8_t world, page;
  bool operator==(const MazeCheckpoint&) const = default;
};
constexpr MazeCheckpoint kMazeCheckpoints[] = {{3, 5}, {3, 9}, {6, 4}, {6, 5}, {6, 6}, {6, 8}, {6, 9}, {6, 10}};

constexpr float kFinishReward = 30, kFailurePenalty = -30, kRightTurnReward = 30;
constexpr float kFallingPenalty = -1, kCeilingPenalty = -1;
constexpr int kFallingHeight = 70, kCeilingHeight = 254;
constexpr Stage kStagesWithWarpZone[] = {{1, 2}, {4, 2}};

bool has_warp_zone(Stage stage) {
  return std::find(std::begin(kStagesWithWarpZone), std::end(kStagesWithWarpZone), stage) != std::end(kStagesWithWarpZone);
}

constexpr std::size_t kUsualCheckpoints = 32;  // more than an attempt meets

// GymReward's.
constexpr int kLargestStride = 5, kDeathPenalty = -25, kLargestFrameReward = 15;

// GymBonusReward's and GymForwardReward's.
constexpr float kFinishBonus = 50, kLossPenalty = -50, kGoalBonus = 1000, kDirectionReward = 1, kLargestStepReward = 10;

int clipped(int reward) { return std::clamp(reward, -kLargestFrameReward, kLargestFrameReward); }

template <std::size_t kIndex = 0>
Reward reward_named(std::string_view name) {
  if constexpr (kIndex < std::variant_size_v<Reward>) {
    if (name == std::variant_alternative_t<kIndex, Reward>::kName) return Reward(std::in_place_index<kIndex>);
    return reward_named<kIndex + 1>(name);
  } else {
    std::string names;
    for (const std::string_view each : reward_names()) names += (names.empty() ? "" : ", ") + std::string(each);
    throw std::invalid_argument("there is no reward " + std::string(name) + ": choose one of " + names);
  }
}

template <std::size_t... kIndices>
std::vector<std::string_view> names_of(std::index_sequence<kIndices...>) {
  return {std::variant_alternative_t<kIndices, Reward>::kName...};
}

}  // namespace

Reward make_reward(std::string_view name) { return reward_named(name); }

std::vector<std::string_view> reward_names() { return names_of(std::make_index_sequence<std::variant_size_v<Reward>>()); }

// ---- a3g ---------------------------------------------------------------------------------------------

A3GReward::Maze A3GReward::maze(const Ram& ram) {
  return {ram[kMazeCheck] != 0, ram[kMazeRightTurns], ram[kMazeTurns], x_position(ram)};
}

void A3GReward::start(const Ram& ram) {
  paid_.reserve(kUsualCheckpoints);
  paid_.clear();
  maze_ = maze(ram);
}

float A3GReward::step(const Ram& ram, int new_ground) {
  const int y = y_position(ram);
  float reward = static_cast<float>(new_ground) + right_turn(ram);
  if (y > kCeilingHeight && has_warp_zone(stage_now(ram))) reward = kCeilingPenalty;
  if (y < kFallingHeight && is_falling(ram)) reward = kFallingPenalty;
  return reward;
}

float A3GReward::finish() { return kFinishReward; }

float A3GReward::failure() { return kFailurePenalty; }

float A3GReward::right_turn(const Ram& ram) {
  const Maze before = maze_, now = maze(ram);
  maze_ = now;
  if (!before.ahead || now.ahead) return 0;
  const MazeCheckpoint here{ram[kWorld], ram[kLoadedPage]};
  if (std::find(std::begin(kMazeCheckpoints), std::end(kMazeCheckpoints), here) == std::end(kMazeCheckpoints)) return 0;
  const bool thrown_back = now.x < before.x - kMazeSetback / 2;
  const bool three_turns = before.turns || now.turns;
  if (thrown_back || (three_turns && now.right_turns <= before.right_turns && now.turns > before.turns)) return 0;
  const Checkpoint checkpoint{area_now(ram), ram[kLoadedPage]};
  if (std::find(paid_.begin(), paid_.end(), checkpoint) != paid_.end()) return 0;
  paid_.push_back(checkpoint);
  return kRightTurnReward;
}

// ---- gym ---------------------------------------------------------------------------------------------

void GymReward::start(const Ram& ram) {
  x_ = x_position(ram);
  clock_ = game_clock(ram);
}

void GymReward::frame(const Ram& ram) {
  const int stride = x_position(ram) - std::exchange(x_, x_position(ram));
  const int ticks = game_clock(ram) - std::exchange(clock_, game_clock(ram));
  earlier_ += clipped(last_);
  last_ = (std::abs(stride) <= kLargestStride ? stride : 0) + std::min(ticks, 0);
}

float GymReward::finish() { return static_cast<float>(std::exchange(earlier_, 0) + clipped(std::exchange(last_, 0))); }

float GymReward::failure() {
  last_ += kDeathPenalty;
  return finish();
}

// ---- gym-bonus ---------------------------------------------------------------------------------------

float GymBonusReward::finish() { return GymReward::finish() + kFinishBonus; }

float GymBonusReward::failure() { return GymReward::failure() + kLossPenalty; }

// ---- gym-forward -------------------------------------------------------------------------------------

void GymForwardReward::start(const Ram& ram) {
  GymReward::start(ram);
  x_before_ = x();
}

float GymForwardReward::step(const Ram&, int) {
  return std::clamp(GymReward::finish() + direction(), -kLargestStepReward, kLargestStepReward);
}

float GymForwardReward::finish() { return GymReward::finish() + direction() + kGoalBonus; }

float GymForwardReward::failure() { return GymReward::failure() + direction() + kLossPenalty; }

float GymForwardReward::direction() {
  const int before = std::exchange(x_before_, x());
  return kDirectionReward * static_cast<float>((x() > before) - (x() < before));
}

}  // namespace a3g
