#include "palette.hpp"

namespace a3g {

// clang-format off
// Measured on nes-py 8.2.1 with a test cartridge that shows one colour after the other.
const std::array<std::array<std::uint8_t, 3>, 64> kRgb = {{
    {124, 124, 124}, {0, 0, 252}, {0, 0, 188}, {68, 40, 188},
    {148, 0, 132}, {168, 0, 32}, {168, 16, 0}, {136, 20, 0},
    {80, 48, 0}, {0, 120, 0}, {0, 104, 0}, {0, 88, 0},
    {0, 64, 88}, {0, 0, 0}, {0, 0, 0}, {0, 0, 0},
    {188, 188, 188}, {0, 120, 248}, {0, 88, 248}, {104, 68, 252},
    {216, 0, 204}, {228, 0, 88}, {248, 56, 0}, {228, 92, 16},
    {172, 124, 0}, {0, 184, 0}, {0, 168, 0}, {0, 168, 68},
    {0, 136, 136}, {0, 0, 0}, {0, 0, 0}, {0, 0, 0},
    {248, 248, 248}, {60, 188, 252}, {104, 136, 252}, {152, 120, 248},
    {248, 120, 248}, {248, 88, 152}, {248, 120, 88}, {252, 160, 68},
    {248, 184, 0}, {184, 248, 24}, {88, 216, 84}, {88, 248, 152},
    {0, 232, 216}, {120, 120, 120}, {0, 0, 0}, {0, 0, 0},
    {252, 252, 252}, {164, 228, 252}, {184, 184, 248}, {216, 184, 248},
    {248, 184, 248}, {248, 164, 192}, {240, 208, 176}, {252, 224, 168},
    {248, 216, 120}, {216, 248, 120}, {184, 248, 184}, {184, 248, 216},
    {0, 252, 252}, {248, 216, 248}, {0, 0, 0}, {0, 0, 0},
}};
// clang-format on

// OpenCV's RGB2GRAY: fixed point with 15 bits of fraction, rounded.
const std::array<std::uint8_t, 64> kGrey = []() noexcept {
  std::array<std::uint8_t, 64> grey{};
  for (std::size_t i = 0; i < grey.size(); ++i) {
    const auto& [red, green, blue] = kRgb[i];
    grey[i] = (9798 * red + 19235 * green + 3735 * blue + (1 << 14)) >> 15;
  }
  return grey;
}();

const std::array<std::uint8_t, 64> kIndices = []() noexcept {
  std::array<std::uint8_t, 64> indices{};
  for (std::size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<std::uint8_t>(i);
  return indices;
}();

}  // namespace a3g
