// Feeds arbitrary bytes to the ROM loader, and runs accepted ROMs for five frames.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <stdexcept>
#include <vector>

#include "lane.hpp"
#include "palette.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace a3g;
  std::vector<std::uint8_t> file(data, data + size);
  // Every second input becomes a whole file with a valid header, because few inputs have one. The fuzzer's bytes
  // are repeated to fill code, vectors and patterns.
  if (size > 0 && (size & 1)) {
    constexpr std::uint8_t kHeader[] = {'N', 'E', 'S', 0x1A, 2, 1};
    const std::vector<std::uint8_t> body = file;
    file.resize(16 + Cartridge::kProgramSize + Cartridge::kPatternSize);
    for (std::size_t i = 0; i < file.size(); ++i) file[i] = body[i % body.size()];
    std::copy(std::begin(kHeader), std::end(kHeader), file.begin());
    file[6] &= 1;
    file[7] = 0;
  }
  try {
    const auto cartridge = Cartridge::load(file);
    static FrameBuffers frame_buffers;
    Lane lane(*cartridge);
    Canvas canvas{nullptr, kGrey.data(), nullptr};
    lane.use(frame_buffers, canvas);
    for (int frame = 0; frame < 5; ++frame) lane.frame(static_cast<std::uint8_t>(size), frame & 1);
    const std::uint8_t* earlier = nullptr;
    lane.picture(true, &earlier);
  } catch (const std::invalid_argument&) {
  }
  return 0;
}
