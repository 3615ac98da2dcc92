// CRC-32 (IEEE 802.3), the checksum of cartridges and save states.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace a3g {

inline std::uint32_t crc32(std::span<const std::uint8_t> bytes) {
  static constexpr auto kTable = [] {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
      std::uint32_t rest = byte;
      for (int bit = 0; bit < 8; ++bit) rest = (rest >> 1) ^ (rest & 1 ? 0xEDB88320u : 0u);
      table[byte] = rest;
    }
    return table;
  }();
  std::uint32_t sum = 0xFFFFFFFFu;
  for (const std::uint8_t byte : bytes) sum = (sum >> 8) ^ kTable[(sum ^ byte) & 0xFF];
  return ~sum;
}

}  // namespace a3g
