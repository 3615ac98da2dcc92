// CRC-32 (IEEE 802.3), the checksum of cartridges and save states.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace a3g {

// Eight bytes at a time, by eight tables ("slicing by 8"): where lanes share a
// console, a state is saved and loaded at every agent step.
inline std::uint32_t crc32(std::span<const std::uint8_t> bytes) {
  static constexpr auto kTables = [] {
    std::array<std::array<std::uint32_t, 256>, 8> tables{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
      std::uint32_t rest = byte;
      for (int bit = 0; bit < 8; ++bit) rest = (rest >> 1) ^ (rest & 1 ? 0xEDB88320u : 0u);
      tables[0][byte] = rest;
    }
    for (std::size_t table = 1; table < 8; ++table)
      for (std::size_t byte = 0; byte < 256; ++byte) {
        const std::uint32_t before = tables[table - 1][byte];
        tables[table][byte] = (before >> 8) ^ tables[0][before & 0xFF];
      }
    return tables;
  }();
  std::uint32_t sum = 0xFFFFFFFFu;
  std::size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    std::uint32_t next = 0;
    for (std::size_t i = 0; i < 4; ++i)
      next ^= kTables[7 - i][bytes[at + i] ^ ((sum >> (8 * i)) & 0xFF)] ^ kTables[3 - i][bytes[at + 4 + i]];
    sum = next;
  }
  for (; at < bytes.size(); ++at) sum = (sum >> 8) ^ kTables[0][(sum ^ bytes[at]) & 0xFF];
  return ~sum;
}

}  // namespace a3g
