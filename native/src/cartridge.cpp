#include "cartridge.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "checksum.hpp"

namespace a3g {
namespace {

constexpr std::size_t kHeaderSize = 16;
constexpr std::uint8_t kNoOpcode = 0x02;  // no official instruction: stops a CPU that runs into a guard

// Bit 7 of a pattern byte is its leftmost pixel.
std::uint64_t spread(std::uint8_t bits) {
  std::uint64_t mask = 0;
  for (int pixel = 0; pixel < 8; ++pixel)
    if (bits & (0x80 >> pixel)) mask |= std::uint64_t{0xFF} << (8 * pixel);
  return mask;
}

}  // namespace

// The format: https://www.nesdev.org/wiki/INES
std::shared_ptr<const Cartridge> Cartridge::load(std::span<const std::uint8_t> file) {
  const auto refuse = [](const std::string& sentence) { throw std::invalid_argument(sentence); };
  if (file.size() < kHeaderSize || file[0] != 'N' || file[1] != 'E' || file[2] != 'S' || file[3] != 0x1A)
    refuse("this is no NES ROM: an iNES file starts with the bytes 'NES' and 0x1A");
  const unsigned mapper = (file[6] >> 4) | (file[7] & 0xF0);
  if (mapper != 0) refuse("this ROM needs mapper " + std::to_string(mapper) + ": only NROM, mapper 0, is built in");
  if (file[4] != 2 || file[5] != 1)
    refuse("this ROM has " + std::to_string(file[4] * 16) + " KB of program and " + std::to_string(file[5] * 8) +
           " KB of patterns: 32 and 8 are expected");
  if (file[6] & 0x04) refuse("this ROM has a trainer before its program: a plain one is expected");
  if (file[6] & 0x08) refuse("this ROM has four name tables: two are expected");
  if (file.size() != kHeaderSize + kProgramSize + kPatternSize)
    refuse("this ROM file has " + std::to_string(file.size()) +
           " bytes: " + std::to_string(kHeaderSize + kProgramSize + kPatternSize) + " are expected");

  auto cartridge = std::make_shared<Cartridge>();
  const auto program = file.subspan(kHeaderSize, kProgramSize);
  const auto patterns = file.subspan(kHeaderSize + kProgramSize, kPatternSize);
  cartridge->guarded_program_.fill(kNoOpcode);
  std::copy(program.begin(), program.end(), cartridge->guarded_program_.begin() + kGuard);
  std::copy(patterns.begin(), patterns.end(), cartridge->patterns_.begin());
  for (unsigned tile = 0; tile < 512; ++tile)
    for (unsigned row = 0; row < 8; ++row)
      cartridge->rows_[tile * 8 + row] = {spread(patterns[tile * 16 + row]), spread(patterns[tile * 16 + 8 + row])};
  cartridge->vertical_mirroring_ = file[6] & 0x01;
  cartridge->checksum_ = crc32(file.subspan(kHeaderSize));
  return cartridge;
}

}  // namespace a3g
