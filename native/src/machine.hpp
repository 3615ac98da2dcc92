// One NES with its cartridge: everything that changes while it runs, and the frame.
//
// `Machine` is what a save state holds: plain values that can be copied, no allocation. The cartridge and
// the canvas to draw on are handed in for a frame. Time is counted in PPU dots from the start of a
// frame; the CPU takes three dots a cycle.
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
  std::uint8_t position = 0;  // the button that the next read answers with
};

// A non-maskable interrupt that waits for the current, or for the next instruction to end.
enum class Interrupt : std::uint8_t { none, now, after_next };

class Machine {
 public:
  explicit Machine(const Cartridge& cartridge) { power_on(cartridge); }

  // The state after switching on: RAM filled with 0xFF, as FCEUmm does.
  void power_on(const Cartridge& cartridge);

  // Runs one frame: from the end of one picture (scanline 240) to the end of the next. Draws it where
  // the canvas says; a null canvas draws nothing and changes nothing else.
  void frame(const Cartridge& cartridge, std::uint8_t buttons, const Canvas* canvas);

  bool interrupt_pending() const { return interrupt_ != Interrupt::none; }

  // Set when the CPU met an instruction that no 6502 manual has; it then stands still.
  bool halted() const { return halted_; }

  std::array<std::uint8_t, 0x800> ram{};

 private:
  friend struct Cpu;
  friend struct StateFile;

  void run(const Cartridge& cartridge, int limit);
  void enter_interrupt(const Cartridge& cartridge);

  // What the CPU does beyond RAM and program. `start` and `clock` are the dots at which the
  // instruction began and at which it touches the bus.
  std::uint8_t read_register(std::uint16_t address, int start, int clock);
  // Answers the dots that it takes on top of the instruction's own.
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
