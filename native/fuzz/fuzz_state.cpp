// Feeds arbitrary bytes to the state loader, and runs accepted states for a few frames with drawing. Every
// second input gets a valid header and checksum, so that the fuzzer reaches the code behind those checks.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

#include "checksum.hpp"
#include "lane.hpp"
#include "palette.hpp"
#include "state.hpp"

namespace {

// A cartridge with a random program; it has no bytes of a game.
std::shared_ptr<const a3g::Cartridge> cartridge() {
  std::vector<std::uint8_t> file(16 + a3g::Cartridge::kProgramSize + a3g::Cartridge::kPatternSize);
  const std::uint8_t header[] = {'N', 'E', 'S', 0x1A, 2, 1, 1};
  std::copy(std::begin(header), std::end(header), file.begin());
  std::uint32_t random = 1;
  for (std::size_t i = 16; i < file.size(); ++i) file[i] = (random = random * 1664525u + 1013904223u) >> 24;
  return a3g::Cartridge::load(file);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace a3g;
  static const auto game = cartridge();
  static const std::vector<std::uint8_t> good = StateFile::save(Machine(*game), *game);
  static FrameBuffers frame_buffers;
  std::vector<std::uint8_t> state(data, data + size);
  if (size & 1) {
    constexpr std::size_t kHeader = 12, kSum = 4;
    state.resize(good.size());
    std::copy_n(good.begin(), kHeader, state.begin());
    const std::uint32_t sum = crc32(std::span(state).first(state.size() - kSum));
    std::memcpy(state.data() + state.size() - kSum, &sum, kSum);
  }
  try {
    Machine machine(*game);
    StateFile::load(machine, *game, state);
    if (StateFile::save(machine, *game) != state) __builtin_trap();  // an accepted state is kept exactly
    Lane lane(*game);
    lane.replace(machine);
    lane.use(frame_buffers, Canvas{nullptr, kGrey.data(), nullptr, 15, 215, 43, 243});
    for (int frame = 0; frame < 4; ++frame) lane.frame(0xA5, frame & 1);
    const std::uint8_t* earlier = nullptr;
    lane.picture(true, &earlier);
  } catch (const std::invalid_argument&) {
  }
  return 0;
}
