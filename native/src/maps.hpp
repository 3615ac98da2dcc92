// The game as a map of what is around Mario, read from RAM: a3g/game/map_observation.py, which explains it, in C++.
#pragma once

#include <cstddef>
#include <cstdint>

namespace a3g {

inline constexpr std::size_t kMapBytes = 1196;

// Draws the map of one game.
void write_map(const std::uint8_t* ram, std::uint8_t* map);

}  // namespace a3g
