#include "rules.hpp"

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <string>

namespace a3g {
namespace {

// RAM addresses; a3g/game/memory.py explains them.
enum Address : std::uint16_t {
  kPlayerActivity = 0x000E,
  kFirstEnemy = 0x0016,
  kPlayerFloatState = 0x001D,
  kPlayerPage = 0x006D,
  kPlayerX = 0x0086,
  kPlayerYSpeed = 0x009F,
  kPlayerYScreen = 0x00B5,
  kPlayerY = 0x03B8,
  kMazeRightTurns = 0x06D9,
  kMazeTurns = 0x06DA,
  kLoadedPage = 0x0725,
  kCloudArea = 0x0743,
  kMazeCheck = 0x0745,
  kAreaType = 0x074E,
  kAreaOffset = 0x074F,
  kPlayerStatus = 0x0756,
  kLives = 0x075A,
  kStage = 0x075C,
  kWorld = 0x075F,
  kGameMode = 0x0770,
  kGameTask = 0x0772,
  kBlackScreenTimer = 0x07A0,
  kScoreDigits = 0x07DE,
  kCoinDigits = 0x07ED,
  kClockDigits = 0x07F8,
};
constexpr int kScoreLength = 6, kCoinLength = 2, kClockLength = 3, kEnemies = 5;

enum Activity : std::uint8_t {
  kSlidingDownPole = 4,
  kWalkingToCastle = 5,
  kDead = 6,
  kNormal = 8,
  kGrowing = 9,
  kHurt = 10,
  kDying = 11,
  kCatchingFire = 12,
};
constexpr std::uint8_t kModeGame = 1, kModeCastleEnd = 2, kTaskPlaying = 3;
constexpr std::uint8_t kFirstLift = 0x24, kLastLift = 0x2C, kBowser = 0x2D, kStageEndFlag = 0x31, kClimbing = 3;
constexpr int kMazeSetback = 1024;

// World and page of the checkpoints that can be passed, both counted from 0.
struct MazeCheckpoint {
  std::uint8_t world, page;
  bool operator==(const MazeCheckpoint&) const = default;
};
constexpr MazeCheckpoint kMazeCheckpoints[] = {{3, 5}, {3, 9}, {6, 4}, {6, 5}, {6, 6}, {6, 8}, {6, 9}, {6, 10}};

// a3g/game/rewards.py
constexpr int kMaxStep = 30;
constexpr float kFinishReward = 30, kFailurePenalty = -30, kRightTurnReward = 30;
constexpr float kFallingPenalty = -1, kCeilingPenalty = -1;
constexpr int kFallingHeight = 70, kCeilingHeight = 254;
constexpr Stage kStagesWithWarpZone[] = {{1, 2}, {4, 2}};

// a3g/game/rules.py
constexpr int kPatienceFrames = 5000;
constexpr Stage kLastStage = {8, 4};

int x_position(const Ram& ram) {
  const int x = ram[kPlayerPage] << 8 | ram[kPlayerX];
  return x > 60000 ? x - 0x10000 : x;
}

int y_position(const Ram& ram) { return 255 - ram[kPlayerY] + (ram[kPlayerYScreen] < 1 ? 255 : 0); }

int number(const Ram& ram, int first, int length) {
  int value = 0;
  for (int i = 0; i < length; ++i) value = value * 10 + ram[first + i];
  return value;
}

int game_clock(const Ram& ram) { return number(ram, kClockDigits, kClockLength); }

Stage stage_now(const Ram& ram) { return {ram[kWorld] + 1, ram[kStage] + 1}; }

// Whether it is one of the 32 stages. A glitch of the warp zones leads to others, such as 36-1, the minus world.
bool is_known(Stage stage) { return stage.world <= kLastStage.world && stage.stage <= kLastStage.stage; }

bool is_playing(const Ram& ram) { return ram[kGameMode] == kModeGame && ram[kGameTask] == kTaskPlaying; }

bool is_controllable(const Ram& ram) {
  const std::uint8_t activity = ram[kPlayerActivity];
  return is_playing(ram) && (activity == kNormal || activity == kGrowing || activity == kHurt || activity == kCatchingFire);
}

bool is_dead(const Ram& ram) {
  const bool fallen = ram[kPlayerYScreen] > 1 && ram[kPlayerYScreen] < 128 && !ram[kCloudArea];
  return fallen || ram[kPlayerActivity] == kDying || ram[kPlayerActivity] == kDead;
}

bool is_falling(const Ram& ram) {
  const std::uint8_t speed = ram[kPlayerYSpeed];
  if (speed == 0)
    return std::none_of(&ram[kFirstEnemy], &ram[kFirstEnemy + kEnemies],
                        [](std::uint8_t enemy) { return enemy >= kFirstLift && enemy <= kLastLift; });
  return speed < 128;
}

bool is_stage_end(const Ram& ram) {
  if (ram[kGameMode] == kModeCastleEnd) return true;
  if (ram[kGameMode] != kModeGame) return false;
  if (ram[kPlayerActivity] == kSlidingDownPole || ram[kPlayerActivity] == kWalkingToCastle) return true;
  return ram[kPlayerFloatState] == kClimbing &&
         std::any_of(&ram[kFirstEnemy], &ram[kFirstEnemy + kEnemies],
                     [](std::uint8_t enemy) { return enemy == kBowser || enemy == kStageEndFlag; });
}

bool has_warp_zone(Stage stage) {
  return std::find(std::begin(kStagesWithWarpZone), std::end(kStagesWithWarpZone), stage) != std::end(kStagesWithWarpZone);
}

std::uint32_t area_of(const Ram& ram) {
  return std::uint32_t{ram[kWorld]} << 24 | ram[kStage] << 16 | ram[kAreaType] << 8 | ram[kAreaOffset];
}

}  // namespace

// ---- reward ------------------------------------------------------------------------------------------

ForwardReward::Maze ForwardReward::maze(const Ram& ram) {
  return {ram[kMazeCheck] != 0, ram[kMazeRightTurns], ram[kMazeTurns], x_position(ram)};
}

void ForwardReward::begin(const Ram& ram) {
  constexpr std::size_t kUsual = 32;  // more areas or checkpoints than an attempt meets
  furthest_.reserve(kUsual);
  paid_.reserve(kUsual);
  progress_ = 0;
  furthest_.assign({{area_of(ram), x_position(ram)}});
  paid_.clear();
  maze_ = maze(ram);
}

float ForwardReward::step(const Ram& ram) {
  const std::uint32_t area = area_of(ram);
  const int x = x_position(ram), y = y_position(ram);
  auto known = std::find_if(furthest_.begin(), furthest_.end(), [area](const Furthest& each) { return each.area == area; });
  if (known == furthest_.end()) known = furthest_.insert(known, {area, x});
  const int gain = std::max(x - known->x, 0);
  known->x += gain;
  progress_ += std::min(gain, kMaxStep);
  float reward = static_cast<float>(std::min(gain, kMaxStep)) + right_turn(ram, area, x);
  if (y > kCeilingHeight && has_warp_zone(stage_now(ram))) reward = kCeilingPenalty;
  if (y < kFallingHeight && is_falling(ram)) reward = kFallingPenalty;
  return reward;
}

float ForwardReward::right_turn(const Ram& ram, std::uint32_t area, int x) {
  const Maze before = maze_, now = maze(ram);
  maze_ = now;
  if (!before.ahead || now.ahead) return 0;
  const MazeCheckpoint here{ram[kWorld], ram[kLoadedPage]};
  if (std::find(std::begin(kMazeCheckpoints), std::end(kMazeCheckpoints), here) == std::end(kMazeCheckpoints)) return 0;
  const bool thrown_back = x < before.x - kMazeSetback / 2;
  const bool three_turns = before.turns || now.turns;
  if (thrown_back || (three_turns && now.right_turns <= before.right_turns && now.turns > before.turns)) return 0;
  const Checkpoint checkpoint{area, ram[kLoadedPage]};
  if (std::find(paid_.begin(), paid_.end(), checkpoint) != paid_.end()) return 0;
  paid_.push_back(checkpoint);
  return kRightTurnReward;
}

// ---- episode -----------------------------------------------------------------------------------------

void Episode::begin(const Lane& lane, Stage stage, int time_per_stage) {
  stage_ = stage;
  time_per_stage_ = time_per_stage;
  begin_attempt(lane.ram());
}

void Episode::begin_attempt(const Ram& ram) {
  reward_.begin(ram);
  clock_at_start_ = game_clock(ram);
  attempted_ = stage_now(ram);
}

StepResult Episode::step(Lane& lane, std::uint8_t buttons, int frames, int shown) {
  const Ram& ram = lane.ram();
  bool stopped = false;
  for (int left = frames; left > 0 && !stopped; --left) {
    lane.frame(buttons, left <= shown);
    stopped = is_dead(ram) || is_stage_end(ram);
  }
  if (!stopped && !is_controllable(ram)) run_out(lane, false, false);

  const Stage now = stage_now(ram);
  const bool whole_game = stage_ == Stage{};
  if (whole_game && !is_known(now)) return {kFailurePenalty, Outcome::warped, true};
  if (is_dead(ram)) return lose_life(lane, game_clock(ram) == 0 ? Outcome::timeout : Outcome::died);
  if (!whole_game && now != stage_) return {kFailurePenalty, Outcome::warped, true};
  if (is_stage_end(ram)) return finish_stage(lane, now);
  if (now != attempted_) begin_attempt(ram);
  if (clock_at_start_ - game_clock(ram) >= time_per_stage_) return lose_life(lane, Outcome::timeout);
  return {reward_.step(ram), Outcome::none, false};
}

StepResult Episode::lose_life(Lane& lane, Outcome outcome) {
  if (stage_ != Stage{} || lane.ram()[kLives] == 0) return {kFailurePenalty, outcome, true};
  lane.poke(kPlayerActivity, kDead);
  lane.frame(0, false);
  run_out(lane, true, false);
  begin_attempt(lane.ram());
  return {kFailurePenalty, outcome, false};
}

StepResult Episode::finish_stage(Lane& lane, Stage now) {
  if (stage_ != Stage{} || now == kLastStage) return {kFinishReward, Outcome::cleared, true};
  run_out(lane, false, true);
  begin_attempt(lane.ram());
  return {kFinishReward, Outcome::cleared, false};
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
