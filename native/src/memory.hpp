// Super Mario Bros in RAM, as in a3g/game/memory.py, which explains the addresses and each of these functions.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace a3g {

using Ram = std::array<std::uint8_t, 0x800>;

// A world and a stage in it, both counted from 1; {0, 0} is none.
struct Stage {
  int world = 0, stage = 0;
  bool operator==(const Stage&) const = default;
};
inline constexpr Stage kLastStage = {8, 4};

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
inline constexpr int kScoreLength = 6, kCoinLength = 2, kClockLength = 3, kEnemies = 5;

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
inline constexpr std::uint8_t kModeGame = 1, kModeCastleEnd = 2, kTaskPlaying = 3;
inline constexpr std::uint8_t kFirstLift = 0x24, kLastLift = 0x2C, kBowser = 0x2D, kStageEndFlag = 0x31, kClimbing = 3;

inline int x_position(const Ram& ram) {
  const int x = ram[kPlayerPage] << 8 | ram[kPlayerX];
  return x > 60000 ? x - 0x10000 : x;
}

inline int y_position(const Ram& ram) { return 255 - ram[kPlayerY] + (ram[kPlayerYScreen] < 1 ? 255 : 0); }

inline int number(const Ram& ram, int first, int length) {
  int value = 0;
  for (int i = 0; i < length; ++i) value = value * 10 + ram[first + i];
  return value;
}

inline int game_clock(const Ram& ram) { return number(ram, kClockDigits, kClockLength); }

inline Stage stage_now(const Ram& ram) { return {ram[kWorld] + 1, ram[kStage] + 1}; }

// Whether it is one of the 32 stages. A glitch of the warp zones leads to others, such as 36-1, the minus world.
inline bool is_known(Stage stage) { return stage.world <= kLastStage.world && stage.stage <= kLastStage.stage; }

inline bool is_playing(const Ram& ram) { return ram[kGameMode] == kModeGame && ram[kGameTask] == kTaskPlaying; }

inline bool is_controllable(const Ram& ram) {
  const std::uint8_t activity = ram[kPlayerActivity];
  return is_playing(ram) && (activity == kNormal || activity == kGrowing || activity == kHurt || activity == kCatchingFire);
}

inline bool is_dead(const Ram& ram) {
  const bool fallen = ram[kPlayerYScreen] > 1 && ram[kPlayerYScreen] < 128 && !ram[kCloudArea];
  return fallen || ram[kPlayerActivity] == kDying || ram[kPlayerActivity] == kDead;
}

inline bool is_falling(const Ram& ram) {
  const std::uint8_t speed = ram[kPlayerYSpeed];
  if (speed == 0)
    return std::none_of(&ram[kFirstEnemy], &ram[kFirstEnemy + kEnemies],
                        [](std::uint8_t enemy) { return enemy >= kFirstLift && enemy <= kLastLift; });
  return speed < 128;
}

inline bool is_stage_end(const Ram& ram) {
  if (ram[kGameMode] == kModeCastleEnd) return true;
  if (ram[kGameMode] != kModeGame) return false;
  if (ram[kPlayerActivity] == kSlidingDownPole || ram[kPlayerActivity] == kWalkingToCastle) return true;
  return ram[kPlayerFloatState] == kClimbing &&
         std::any_of(&ram[kFirstEnemy], &ram[kFirstEnemy + kEnemies],
                     [](std::uint8_t enemy) { return enemy == kBowser || enemy == kStageEndFlag; });
}

// The area that is loaded: its world, stage, type and offset.
inline std::uint32_t area_now(const Ram& ram) {
  return std::uint32_t{ram[kWorld]} << 24 | ram[kStage] << 16 | ram[kAreaType] << 8 | ram[kAreaOffset];
}

}  // namespace a3g
