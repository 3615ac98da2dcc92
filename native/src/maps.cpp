#include "maps.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <initializer_list>
#include <numbers>

#include "memory.hpp"

namespace a3g {
namespace {

using std::uint8_t;

// Tiles of 16 pixels around the one that Mario's feet are in.
constexpr int kRowsAbove = 8, kRowsBelow = 6, kColumnsBehind = 4, kColumnsAhead = 10;
constexpr int kRows = kRowsAbove + 1 + kRowsBelow, kColumns = kColumnsBehind + 1 + kColumnsAhead;
enum Plane : int { kNone = -1, kSolid, kStompable, kDeadly, kLift, kPlanes };
constexpr int kNearest = 6, kFirst = 4, kPerObject = 10, kMorePerObject = 21, kMario = 30, kMoreOfMario = 20;
constexpr int kStages = 32, kPages = 24, kAreaTypes = 4;

// Where in a map what stands.
constexpr int kObjectsAt = kPlanes * kRows * kColumns;
constexpr int kMarioAt = kObjectsAt + kFirst * kPerObject;
constexpr int kPlaceAt = kMarioAt + kMario;
constexpr int kOthersAt = kPlaceAt + kStages + kPages + kAreaTypes;
constexpr int kMoreAt = kOthersAt + (kNearest - kFirst) * kPerObject;
constexpr int kMoreOfMarioAt = kMoreAt + kNearest * kMorePerObject;
static_assert(kMoreOfMarioAt + kMoreOfMario == kMapBytes);

constexpr uint8_t kOne = 128;  // the byte that stands for one; numbers with a sign are around it

constexpr int kBlockBuffer = 0x0500, kBlockRows = 13, kBlockPage = 0xD0, kFirstRowY = 32;
constexpr int kSlots = 6, kHammers = 9, kObjects = kSlots + kHammers;
constexpr int kFlag = 0x000F, kState = 0x001E, kXSpeed = 0x0058, kYSpeed = 0x00A0;
constexpr int kPage = 0x006E, kX = 0x0087, kYHigh = 0x00B6, kY = 0x00CF;
constexpr int kHammerState = 0x002A, kHammerPage = 0x007A, kHammerX = 0x0093, kHammerY = 0x00DB;
constexpr int kTimer = 0x078A, kIntervalTimer = 0x0796, kMoving = 0x0046, kSpin = 0x0034, kSpinSpeed = 0x0388;
constexpr int kNothing = 0x3F, kHammer = 0x40, kKinds = 0x41;
constexpr int kFirstFirebar = 0x1B, kLongFirebar = 0x1F, kLastWideLift = 0x2A, kSpring = 0x32, kCannonball = 0x33;
constexpr int kFarAway = 1 << 20;

// Of the kinds of objects, by [Enemy_ID].
struct Kinds {
  std::array<int, kKinds> plane, group;
  std::array<bool, 256> solid;
};

constexpr Kinds known_kinds() {
  Kinds known{};
  known.plane.fill(kNone);
  known.group.fill(kNone);
  for (const int kind : {0, 1, 2, 3, 4, 5, 6, 8, 9, 0x0A, 0x0B, 0x0E, 0x0F, 0x10, 0x11, 0x14, kCannonball})
    known.plane[kind] = kStompable;
  for (const int kind : {7, 0x0C, 0x0D, 0x12, 0x15, 0x16, int{kBowser}, kHammer}) known.plane[kind] = kDeadly;
  for (int kind = kFirstFirebar; kind <= kLongFirebar; ++kind) known.plane[kind] = kDeadly;
  for (int kind = kFirstLift; kind <= kLastLift; ++kind) known.plane[kind] = kLift;
  known.plane[kSpring] = kLift;

  int group = 0;
  const auto members = [&](std::initializer_list<int> kinds) {
    for (const int kind : kinds) known.group[kind] = group;
    ++group;
  };
  members({0, 1, 3, 4});
  members({2});
  members({5});
  members({6});
  members({8, kCannonball});
  members({7, 0x0A, 0x0B});
  members({0x0C});
  members({0x0D});
  members({0x0E, 0x0F, 0x10});
  members({0x11, 0x12});
  members({0x14});
  members({0x15});
  for (int kind = kFirstFirebar; kind <= kLongFirebar; ++kind) known.group[kind] = group;
  ++group;
  for (int kind = kFirstLift; kind <= kLastLift; ++kind) known.group[kind] = group;
  members({kSpring});
  members({kBowser});
  members({kHammer});

  // What is climbed stands at the end of each quarter of the tiles' numbers.
  constexpr int kFirstClimbed[] = {0x24, 0x6D, 0x8A, 0xC6};
  for (int tile = 0; tile < 256; ++tile) known.solid[tile] = tile < kFirstClimbed[tile >> 6];
  for (const int tile : {0x00, 0xC2, 0xC3, 0x5F, 0x60}) known.solid[tile] = false;
  return known;
}
constexpr Kinds kKnown = known_kinds();
constexpr int kGroups = 16;

uint8_t with_sign(int value) { return static_cast<uint8_t>(std::clamp(value, -int{kOne}, 255 - kOne) + kOne); }

uint8_t flag(bool is_set) { return is_set ? kOne : 0; }

bool is_firebar(int kind) { return kind >= kFirstFirebar && kind <= kLongFirebar; }

int signed_byte(uint8_t byte) { return static_cast<std::int8_t>(byte); }

struct Place {
  int x, y, column, row;
};

struct Object {
  int kind, plane, slot, x, y, distance;
  bool is_present() const { return plane != kNone; }
};

Place place_of_mario(const uint8_t* ram) {
  int x = ram[kPlayerPage] << 8 | ram[kPlayerX];
  if (x > 60000) x -= 0x10000;
  x += 8;
  const int y = (ram[kPlayerYScreen] - 1) * 256 + ram[0x00CE] + 16;
  return {x, y, x >> 4, (y - kFirstRowY) >> 4};
}

void mark(const Place& mario, int plane, int x, int y, uint8_t* map) {
  const int column = (x >> 4) - mario.column + kColumnsBehind, row = ((y - kFirstRowY) >> 4) - mario.row + kRowsAbove;
  if (column >= 0 && column < kColumns && row >= 0 && row < kRows) map[(plane * kRows + row) * kColumns + column] = kOne;
}

void draw_tiles(const uint8_t* ram, const Place& mario, uint8_t* map) {
  for (int i = 0; i < kRows; ++i) {
    const int row = mario.row + i - kRowsAbove;
    if (row < 0 || row >= kBlockRows) continue;
    for (int j = 0; j < kColumns; ++j) {
      const int column = std::max(mario.column + j - kColumnsBehind, 0);
      const uint8_t tile = ram[kBlockBuffer + (column >> 4 & 1) * kBlockPage + row * 16 + (column & 15)];
      map[i * kColumns + j] = flag(kKnown.solid[tile]);
    }
  }
}

std::array<Object, kObjects> objects_of(const uint8_t* ram, const Place& mario) {
  std::array<Object, kObjects> objects;
  for (int slot = 0; slot < kObjects; ++slot) {
    Object& object = objects[slot];
    object.slot = slot;
    if (slot < kSlots) {
      object.kind = ram[kFlag + slot] ? std::min<int>(ram[kFirstEnemy + slot], kNothing) : kNothing;
      object.x = (ram[kPage + slot] << 8) + ram[kX + slot] + 8;
      object.y = (ram[kYHigh + slot] - 1) * 256 + ram[kY + slot] + 8;
    } else {
      const int hammer = slot - kSlots;
      object.kind = ram[kHammerState + hammer] & 0x80 ? kHammer : kNothing;
      object.x = (ram[kHammerPage + hammer] << 8) + ram[kHammerX + hammer] + 8;
      object.y = ram[kHammerY + hammer];
    }
    object.plane = kKnown.plane[object.kind];
    const int dx = object.x - mario.x, dy = object.y - mario.y;
    object.distance = object.is_present() ? std::abs(dx - 24) + std::abs(dy) / 2 : kFarAway;
  }
  return objects;
}

double angle_of(const uint8_t* ram, int slot) { return (ram[kYSpeed + slot] & 31) * (2 * std::numbers::pi / 32); }

void draw_object(const uint8_t* ram, const Place& mario, const Object& object, uint8_t* map) {
  mark(mario, object.plane, object.x, object.y, map);
  const bool is_wide = object.kind >= kFirstLift && object.kind <= kLastWideLift;
  if (is_wide || object.kind == kBowser) mark(mario, object.plane, object.x + 16, object.y, map);
  if (is_wide) mark(mario, object.plane, object.x + 32, object.y, map);
  if (!is_firebar(object.kind)) return;
  const double angle = angle_of(ram, object.slot);
  const int length = object.kind == kLongFirebar ? 12 : 6;
  for (int ball = 2; ball < length; ball += 2) {
    const int right = static_cast<int>(8 * ball * std::sin(angle)), up = static_cast<int>(8 * ball * std::cos(angle));
    mark(mario, object.plane, object.x + right, object.y - up, map);
  }
}

// An object in numbers.
void describe(const uint8_t* ram, const Place& mario, const Object& object, uint8_t* numbers, uint8_t* more) {
  const int slot = object.slot;
  const bool is_enemy = slot < kSlots, is_bar = is_firebar(object.kind);
  *numbers++ = kOne;
  *numbers++ = with_sign(object.x - mario.x);
  *numbers++ = with_sign(object.y - mario.y);
  *numbers++ = with_sign(is_enemy ? 2 * signed_byte(ram[kXSpeed + slot]) : 0);
  *numbers++ = with_sign(is_enemy ? 8 * signed_byte(ram[kYSpeed + slot]) : 0);
  *numbers++ = flag(object.plane == kStompable);
  *numbers++ = flag(object.plane == kDeadly);
  *numbers++ = flag(is_enemy && ram[kState + slot] & 0x20);
  const double angle = is_bar ? angle_of(ram, slot) : 0;
  *numbers++ = is_bar ? with_sign(static_cast<int>(127 * std::sin(angle))) : 0;
  *numbers++ = is_bar ? with_sign(static_cast<int>(127 * std::cos(angle))) : 0;

  if (const int group = kKnown.group[object.kind]; group != kNone) more[group] = kOne;
  more += kGroups;
  if (!is_enemy) return;
  *more++ = static_cast<uint8_t>(std::min(4 * ram[kTimer + slot], 255));
  *more++ = static_cast<uint8_t>(std::min(16 * ram[kIntervalTimer + slot], 255));
  *more++ = flag(ram[kMoving + slot] == 1);
  *more++ = flag(is_bar && ram[kSpin + slot]);
  *more++ = is_bar ? ram[kSpinSpeed + slot] : 0;
}

void draw_objects(const uint8_t* ram, const Place& mario, uint8_t* map) {
  std::array<Object, kObjects> objects = objects_of(ram, mario);
  for (const Object& object : objects)
    if (object.is_present()) draw_object(ram, mario, object, map);
  // Of two that are as far the one in the lower slot is first.
  std::stable_sort(objects.begin(), objects.end(), [](const Object& a, const Object& b) { return a.distance < b.distance; });
  for (int i = 0; i < kNearest && objects[i].is_present(); ++i) {
    uint8_t* numbers = i < kFirst ? map + kObjectsAt + i * kPerObject : map + kOthersAt + (i - kFirst) * kPerObject;
    describe(ram, mario, objects[i], numbers, map + kMoreAt + i * kMorePerObject);
  }
}

// How Mario moves and what he can do.
void describe_mario(const uint8_t* ram, const Place& mario, uint8_t* to) {
  const int state = ram[kPlayerFloatState], buttons = ram[0x000D];
  for (int each = 0; each < 4; ++each) *to++ = flag(state == each);
  for (const bool is_set : {
           (buttons & 0x80) != 0,
           (buttons & 0x40) != 0,
           ram[0x0704] != 0,
           ram[0x0754] == 0,
           ram[kPlayerStatus] == 2,
           ram[0x0714] != 0,
           ram[0x079E] != 0,
           ram[0x079F] != 0,
           ram[0x0033] == 1,
           ram[0x0783] != 0,
           ram[0x0723] != 0,
           ram[kMazeCheck] != 0,
           ram[kPlayerActivity] == kNormal,
           (ram[0x0009] & 4) != 0,
       })
    *to++ = flag(is_set);
  for (const int value : {
           int{with_sign(2 * signed_byte(ram[0x0057]))},
           int{with_sign(16 * signed_byte(ram[kPlayerYSpeed]))},
           (mario.x & 15) * 16,
           (mario.y & 15) * 16,
           std::clamp(mario.y, 0, 255),
           mario.x,
           int{with_sign(mario.x - (ram[0x071A] * 256 + ram[0x071C]) - kOne)},
           int{ram[0x0709]},
           ram[kMazeRightTurns] * 32,
           ram[kMazeTurns] * 32,
           ram[kClockDigits] * 32,
       })
    *to++ = static_cast<uint8_t>(value);
}

// The buttons of the last frame, fractions of speeds, and what the game counts.
void describe_more_of_mario(const uint8_t* ram, uint8_t* to) {
  const int buttons = ram[0x06FC], frames = ram[0x0009];
  for (const int bit : {0x80, 0x40, 0x08, 0x04, 0x02, 0x01}) *to++ = flag(buttons & bit);
  for (const int bit : {0x01, 0x02, 0x08, 0x10, 0x20, 0x40}) *to++ = flag(frames & bit);
  *to++ = flag(ram[0x06CB]);
  *to++ = static_cast<uint8_t>(std::min(4 * ram[0x0782], 255));
  for (const int address : {0x0705, 0x0416, 0x0433}) *to++ = ram[address];
}

}  // namespace

void write_map(const uint8_t* ram, uint8_t* map) {
  std::fill_n(map, kMapBytes, uint8_t{0});
  const Place mario = place_of_mario(ram);
  draw_tiles(ram, mario, map);
  draw_objects(ram, mario, map);
  describe_mario(ram, mario, map + kMarioAt);
  map[kPlaceAt + std::clamp(ram[kWorld] * 4 + ram[kStage], 0, kStages - 1)] = kOne;
  map[kPlaceAt + kStages + std::clamp(mario.x >> 8, 0, kPages - 1)] = kOne;
  map[kPlaceAt + kStages + kPages + (ram[kAreaType] & 3)] = kOne;
  describe_more_of_mario(ram, map + kMoreOfMarioAt);
}

}  // namespace a3g
