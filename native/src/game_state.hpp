// A game under way as bytes, with a version and a checksum: the console with its last two frames, and the
// state of its episode. Another process continues it exactly.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lane.hpp"
#include "rules.hpp"

namespace a3g {

struct GameState {
  static std::vector<std::uint8_t> save(const Lane& lane, const Episode& episode, const Cartridge& cartridge);

  // Throws std::invalid_argument with a sentence, and leaves both as they were, if the bytes are damaged, of
  // another version, of another cartridge or of another reward than the episode's.
  static void load(Lane& lane, Episode& episode, const Cartridge& cartridge, std::span<const std::uint8_t> bytes);

 private:
  // Visits all numbers in their order.
  template <typename Archive>
  static void fields(Lane& lane, Episode& episode, Archive&& archive);
};

}  // namespace a3g
