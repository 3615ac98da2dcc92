// One game among several: a console, and the picture of its last frame on demand.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "machine.hpp"
#include "memory.hpp"

namespace a3g {

// The memory in which a thread draws: the pixels of the last two frames, and the sprites of each line.
struct FrameBuffers {
  std::array<std::vector<std::uint8_t>, 2> pixels{std::vector<std::uint8_t>(Canvas::kBytes),
                                                  std::vector<std::uint8_t>(Canvas::kBytes)};
  LineSprites sprites;
};

// Whether a frame is the last of an agent step is known only after it, and drawing costs more than running.
// So a lane keeps a copy of the console from before each of its last two frames. If they were not drawn, it
// runs them once more, with drawing: the console is deterministic.
class Lane {
 public:
  explicit Lane(const Cartridge& cartridge) : cartridge_(&cartridge), machine_(cartridge), before_{machine_, machine_} {}

  const Ram& ram() const { return machine_.ram; }
  void poke(std::uint16_t address, std::uint8_t value) { machine_.ram[address] = value; }

  const Machine& machine() const { return machine_; }
  // Continues with another machine; earlier frames are forgotten.
  void replace(const Machine& machine);

  // The next frame counts as the first.
  void forget_frames();

  // The last frame counts as the first, the next as the second.
  void keep_last_frame();

  // Draws into these buffers from now on, with the table and the region of `part`.
  void use(FrameBuffers& frame_buffers, const Canvas& part);

  void frame(std::uint8_t buttons, bool draw);

  // The pixels of the last frame. Sets `earlier` to those of the frame before it if `two` is set and that
  // frame was run, else to null.
  const std::uint8_t* picture(bool two, const std::uint8_t** earlier);

 private:
  friend struct GameState;

  Canvas canvas(int frame) const;
  void run(std::uint8_t buttons, bool draw);

  const Cartridge* cartridge_;
  Machine machine_;
  std::array<Machine, 2> before_;          // frame n began from before_[n % 2] ...
  std::array<std::uint8_t, 2> buttons_{};  // ... with these buttons
  int frames_ = 0;                         // since the first one: counts 0 1 2 3 2 3 ...
  int drawn_ = 0;                          // how many of the last frames are in the buffers
  FrameBuffers* frame_buffers_ = nullptr;
  Canvas part_{};
};

}  // namespace a3g
