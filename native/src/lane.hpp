// One game among several: a console, and the picture of its last frame whenever somebody asks for it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "machine.hpp"

namespace a3g {

using Ram = std::array<std::uint8_t, 0x800>;

// What a thread needs to draw: the last two frames, and room for the sprites of each line.
struct Easel {
  std::array<std::vector<std::uint8_t>, 2> pixels{std::vector<std::uint8_t>(Canvas::kBytes),
                                                  std::vector<std::uint8_t>(Canvas::kBytes)};
  LineSprites sprites;
};

// Nobody knows beforehand whether a frame is the last of an agent step, and drawing costs more than
// running. So a lane remembers how the console stood before its last two frames, and runs them once
// more, with drawing, if they were not drawn: the console is deterministic.
class Lane {
 public:
  explicit Lane(const Cartridge& cartridge) : cartridge_(&cartridge), machine_(cartridge), before_{machine_, machine_} {}

  const Ram& ram() const { return machine_.ram; }
  void poke(std::uint16_t address, std::uint8_t value) { machine_.ram[address] = value; }

  const Machine& machine() const { return machine_; }
  // Goes on from another machine; no picture of what went before is kept.
  void replace(const Machine& machine);

  // The next frame counts as the first.
  void forget_frames();

  // The last frame counts as the first, the next as the second.
  void keep_last_frame();

  // Draws on this easel from now on, through this table and in this part of the picture.
  void use(Easel& easel, const Canvas& part);

  void frame(std::uint8_t buttons, bool draw);

  // The pixels of the last frame; `earlier` is set to those of the frame before it if `two` are asked for
  // and it was run.
  const std::uint8_t* picture(bool two, const std::uint8_t** earlier);

 private:
  friend struct GameState;

  Canvas canvas(int frame) const;
  void run(std::uint8_t buttons, bool draw);

  const Cartridge* cartridge_;
  Machine machine_;
  std::array<Machine, 2> before_;              // frame n began as before_[n % 2] ...
  std::array<std::uint8_t, 2> buttons_{};      // ... with these buttons
  int frames_ = 0;                             // since the first; counts 0 1 2 3 2 3 ...
  int drawn_ = 0;                              // how many of the last frames are on the easel
  Easel* easel_ = nullptr;
  Canvas part_{};
};

}  // namespace a3g
