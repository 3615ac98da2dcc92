#include "progress.hpp"

#include <algorithm>

namespace a3g {
namespace {

constexpr int kMaxNewGround = 30;
constexpr std::size_t kUsualAreas = 32;  // more than an attempt meets

}  // namespace

void Progress::start(const Ram& ram) {
  furthest_.reserve(kUsualAreas);
  furthest_.assign({{area_now(ram), x_position(ram)}});
  pixels_ = 0;
}

int Progress::step(const Ram& ram) {
  const std::uint32_t area = area_now(ram);
  const int x = x_position(ram);
  auto known = std::find_if(furthest_.begin(), furthest_.end(), [area](const Furthest& each) { return each.area == area; });
  if (known == furthest_.end()) known = furthest_.insert(known, {area, x});
  const int new_ground = std::clamp(x - known->x, 0, kMaxNewGround);
  known->x = std::max(known->x, x);
  pixels_ += new_ground;
  return new_ground;
}

}  // namespace a3g
