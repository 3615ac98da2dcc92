// One NES with its cartridge: everything that changes while it runs, and the frame.
//
// A save state holds a `Machine`: values that can be copied, without allocation. The cartridge and the canvas
// to draw on are arguments of `frame`. Time is counted in PPU dots from the start of a frame; a CPU cycle takes
// three dots.
#pragma once

#include <array>
#include <cstdint>

#include "cartridge.hpp"
#include "ppu.hpp"

namespace a3g {

struct Registers {
  std::uint16_t pc = 0;
  std::uint8_t a = 0, x = 0, y = 0;
  std::uint8_t s = 0xFD;
  std::uint8_t p = 0x04;
};

// The controller port: https://www.nesdev.org/wiki/Standard_controller
struct Controller {
  std::uint8_t buttons = 0;  // bit 0..7: A, B, SELECT, START, UP, DOWN, LEFT, RIGHT
  std::uint8_t strobe = 0;
  std::uint8_t position = 0;  // the button that the next read returns
};

// A pending non-maskable interrupt: it is taken after the current or after the next instruction.
enum class Interrupt : std::uint8_t { none, now, after_next };

class Machine {
 public:
  explicit Machine(const Cartridge& cartridge) { power_on(cartridge); }

  // The state after switching on: RAM filled with 0xFF, as FCEUmm does.
  void power_on(const Cartridge& cartridge);

  // Runs one frame: from the end of one picture (scanline 240) to the end of the next. Draws it on
  // the canvas; without one (null) nothing is drawn and all else is the same.
  void frame(const Cartridge& cartridge, std::uint8_t buttons, const Canvas* canvas);

  bool interrupt_pending() const { return interrupt_ != Interrupt::none; }

  // Set when the CPU met an unofficial instruction; it then executes nothing more.
  bool halted() const { return halted_; }

  std::array<std::uint8_t, 0x800> ram{};

 private:
  friend struct Cpu;
  friend struct StateFile;

  void run(const Cartridge& cartridge, int limit);
  void enter_interrupt(const Cartridge& cartridge);

  // Accesses of the CPU outside of RAM and program. `start` is the dot at which the instruction began, `clock`
  // the one at which it touches the bus.
  std::uint8_t read_register(std::uint16_t address, int start, int clock);
  // Returns the dots that the write takes in addition to the instruction's own.
  int write_register(const Cartridge& cartridge, std::uint16_t address, std::uint8_t value, int start);

  Registers cpu_;
  Ppu ppu_;
  std::array<Controller, 2> controllers_{};
  int clock_ = 0;
  int limit_ = 0;  // the CPU runs while the clock is below
  Interrupt interrupt_ = Interrupt::none;
  std::uint8_t warm_up_frames_ = 0;
  bool odd_frame_ = false;
  bool halted_ = false;
};

}  // namespace a3g
