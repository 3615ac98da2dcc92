// Save states: a machine between two frames as bytes, with a version and a checksum.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "machine.hpp"

namespace a3g {

struct StateFile {
  static std::vector<std::uint8_t> save(const Machine& machine, const Cartridge& cartridge);

  // Throws std::invalid_argument with a sentence, and leaves the machine as it was, if the bytes are
  // damaged, of another version or of another cartridge.
  static void load(Machine& machine, const Cartridge& cartridge, std::span<const std::uint8_t> bytes);

 private:
  template <typename Archive>
  static void fields(Machine& machine, Archive&& archive);
};

}  // namespace a3g
