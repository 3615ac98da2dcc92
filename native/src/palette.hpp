// The console's 64 colours as nes-py shows them, the reference for pictures in this project.
#pragma once

#include <array>
#include <cstdint>

namespace a3g {

extern const std::array<std::array<std::uint8_t, 3>, 64> kRgb;
extern const std::array<std::uint8_t, 64> kGrey;
extern const std::array<std::uint8_t, 64> kIndices;  // the identity: draws palette indices

}  // namespace a3g
