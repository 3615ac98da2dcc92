// The 6502 of the NES (without decimal mode): https://www.nesdev.org/wiki/CPU
#pragma once

#include "machine.hpp"

namespace a3g {

struct Cpu {
  // Runs the instructions that begin before machine.limit_. Returns early after a jump out of the
  // program and after an instruction that raised an interrupt. kProgram: the code is in the cartridge's
  // program; otherwise one instruction is run, from any address.
  template <bool kProgram>
  static void run(Machine& machine, const Cartridge& cartridge);

  // Kept out of the instructions' code because they are rare.
  static std::uint8_t read_slowly(Machine& machine, std::uint16_t address, int start, int clock);
  static int write_slowly(Machine& machine, const Cartridge& cartridge, std::uint16_t address, std::uint8_t value, int start);
  static int rounds_to_skip(Machine& machine, bool while_set, int clock, int limit, int round);
};

}  // namespace a3g
