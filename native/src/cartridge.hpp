// The game cartridge: NROM-256 (iNES mapper 0), 32 KB of program and 8 KB of patterns, all read-only.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

namespace a3g {

// One row of eight pixels of a pattern: byte i is 0xFF where pixel i has the bit, else 0. A pixel's
// colour is one of four; with these masks a few 64-bit operations compute eight pixels.
struct TileRow {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
};

class Cartridge {
 public:
  static constexpr std::size_t kProgramSize = 0x8000;
  static constexpr std::size_t kPatternSize = 0x2000;

  // Reads an iNES file. Throws std::invalid_argument with a sentence if it is not one, or not NROM-256.
  static std::shared_ptr<const Cartridge> load(std::span<const std::uint8_t> file);

  // Byte 0 is at address 0x8000. Guard bytes on both sides hold no official instruction.
  const std::uint8_t* program() const { return guarded_program_.data() + kGuard; }
  const std::array<std::uint8_t, kPatternSize>& patterns() const { return patterns_; }

  // tile 0..255 of table 0, then 256..511 of table 1.
  const TileRow* tile(unsigned index) const { return &rows_[index * 8]; }

  // Two name tables side by side (vertical mirroring) or one above the other.
  bool vertical_mirroring() const { return vertical_mirroring_; }

  // CRC-32 of program and patterns: a save state of another cartridge is refused.
  std::uint32_t checksum() const { return checksum_; }

 private:
  static constexpr std::size_t kGuard = 256;
  alignas(256) std::array<std::uint8_t, kGuard + kProgramSize + kGuard> guarded_program_{};
  std::array<std::uint8_t, kPatternSize> patterns_{};
  std::array<TileRow, 512 * 8> rows_{};
  bool vertical_mirroring_ = true;
  std::uint32_t checksum_ = 0;
};

}  // namespace a3g
