#include "rules.hpp"

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <string>
#include <utility>

namespace a3g {
namespace {

constexpr int kPatienceFrames = 5000;

}  // namespace

void Episode::begin(const Lane& lane, Stage stage, int time_per_stage) {
  stage_ = stage;
  time_per_stage_ = time_per_stage;
  begin_attempt(lane.ram());
}

void Episode::begin_attempt(const Ram& ram) {
  progress_.start(ram);
  std::visit([&ram](auto& reward) { reward.start(ram); }, reward_);
  clock_at_start_ = game_clock(ram);
  attempted_ = stage_now(ram);
}

StepResult Episode::step(Lane& lane, std::uint8_t buttons, int frames, int shown) {
  // The reward's kind is looked at once a step, not in every frame.
  return std::visit([&](auto& reward) { return step_for(reward, lane, buttons, frames, shown); }, reward_);
}

template <typename Kind>
StepResult Episode::step_for(Kind& reward, Lane& lane, std::uint8_t buttons, int frames, int shown) {
  const Ram& ram = lane.ram();
  bool stopped = false;
  for (int left = frames; left > 0 && !stopped; --left) {
    lane.frame(buttons, left <= shown);
    reward.frame(ram);
    stopped = is_dead(ram) || is_stage_end(ram);
  }
  if (!stopped && !is_controllable(ram)) run_out(lane, false, false);

  const Stage now = stage_now(ram);
  const bool whole_game = stage_ == Stage{};
  if (whole_game && !is_known(now)) return {reward.failure(), Outcome::warped, true};
  if (is_dead(ram)) return lose_life(lane, reward.failure(), game_clock(ram) == 0 ? Outcome::timeout : Outcome::died);
  if (!whole_game && now != stage_) return {reward.failure(), Outcome::warped, true};
  if (is_stage_end(ram)) return finish_stage(lane, reward.finish(), now);
  if (now != attempted_) begin_attempt(ram);
  if (clock_at_start_ - game_clock(ram) >= time_per_stage_) return lose_life(lane, reward.failure(), Outcome::timeout);
  return {reward.step(ram, progress_.step(ram)), Outcome::none, false};
}

StepResult Episode::lose_life(Lane& lane, float reward, Outcome outcome) {
  if (stage_ != Stage{} || lane.ram()[kLives] == 0) return {reward, outcome, true};
  lane.poke(kPlayerActivity, kDead);
  lane.frame(0, false);
  run_out(lane, true, false);
  begin_attempt(lane.ram());
  return {reward, outcome, false};
}

StepResult Episode::finish_stage(Lane& lane, float reward, Stage now) {
  if (stage_ != Stage{} || now == kLastStage) return {reward, Outcome::cleared, true};
  run_out(lane, false, true);
  begin_attempt(lane.ram());
  return {reward, Outcome::cleared, false};
}

void Episode::run_out(Lane& lane, bool ignore_death, bool ignore_end) {
  const Ram& ram = lane.ram();
  for (int frame = 0; frame < kPatienceFrames; ++frame) {
    if (is_controllable(ram)) return;
    if (is_playing(ram) && !ignore_death && is_dead(ram)) return;
    if (!ignore_end && is_stage_end(ram)) return;
    if (ram[kBlackScreenTimer]) lane.poke(kBlackScreenTimer, 0);
    lane.frame(0, false);
  }
  throw std::runtime_error("Mario did not become controllable within " + std::to_string(kPatienceFrames) + " frames");
}

void decode(const Ram& ram, std::int32_t* variables) {
  const Stage now = stage_now(ram);
  const std::int32_t values[] = {number(ram, kCoinDigits, kCoinLength),
                                 is_stage_end(ram),
                                 ram[kLives],
                                 number(ram, kScoreDigits, kScoreLength),
                                 now.stage,
                                 std::min<int>(ram[kPlayerStatus], 2),
                                 game_clock(ram),
                                 now.world,
                                 x_position(ram),
                                 y_position(ram)};
  std::copy(std::begin(values), std::end(values), variables);
}

}  // namespace a3g
