#include "machine.hpp"

#include "cpu.hpp"
#include "profile.hpp"

namespace a3g {
namespace {

constexpr std::uint8_t kRamAtPowerOn = 0xFF;
constexpr int kWarmUpFrames = 2;      // FCEUmm's PPU does nothing for two frames after power-on
constexpr int kTransferCycles = 513;  // measured on FCEUmm; on the hardware 513 or 514
constexpr int kDots = 3;

std::uint16_t vector(const Cartridge& cartridge, std::uint16_t address) {
  const std::uint8_t* at = cartridge.program() + (address - 0x8000);
  return static_cast<std::uint16_t>(at[0] | at[1] << 8);
}

}  // namespace

void Machine::power_on(const Cartridge& cartridge) {
  ram.fill(kRamAtPowerOn);
  cpu_ = Registers{};
  cpu_.pc = vector(cartridge, 0xFFFC);
  ppu_.power_on();
  controllers_ = {};
  clock_ = limit_ = 0;
  interrupt_ = Interrupt::none;
  warm_up_frames_ = kWarmUpFrames;
  odd_frame_ = false;
  halted_ = false;
}

void Machine::frame(const Cartridge& cartridge, std::uint8_t buttons, const Canvas* canvas) {
  const Clocked clocked(Part::ppu);
  const bool warming_up = warm_up_frames_ > 0;
  const int length = timing::kFrame - (odd_frame_ && !warming_up);
  controllers_[0].buttons = buttons;
  ppu_.begin_frame(cartridge, canvas, odd_frame_, warming_up);
  if (!warming_up) {
    run(cartridge, timing::kInterrupt);
    if (ppu_.interrupts_on_vblank()) interrupt_ = Interrupt::now;
  }
  run(cartridge, length);
  ppu_.sync(clock_);
  ppu_.end_frame();
  clock_ -= length;
  if (warming_up) --warm_up_frames_;
  else odd_frame_ = !odd_frame_;
}

void Machine::run(const Cartridge& cartridge, int limit) {
  const Clocked clocked(Part::cpu);
  while (clock_ < limit) {
    if (halted_) {
      clock_ = limit;
      return;
    }
    if (interrupt_ == Interrupt::now) enter_interrupt(cartridge);
    if (clock_ >= limit) return;
    limit_ = limit;
    if (interrupt_ == Interrupt::after_next) {
      interrupt_ = Interrupt::now;
      limit_ = clock_ + 1;
    }
    if (cpu_.pc >= 0x8000) Cpu::run<true>(*this, cartridge);
    else Cpu::run<false>(*this, cartridge);
  }
}

void Machine::enter_interrupt(const Cartridge& cartridge) {
  interrupt_ = Interrupt::none;
  clock_ += 7 * kDots;
  const auto push = [this](std::uint8_t value) { ram[0x100 | cpu_.s--] = value; };
  push(cpu_.pc >> 8);
  push(cpu_.pc & 0xFF);
  push((cpu_.p & ~0x10) | 0x20);
  cpu_.p |= 0x04;
  cpu_.pc = vector(cartridge, 0xFFFA);
}

std::uint8_t Machine::read_register(std::uint16_t address, int start, int clock) {
  if (address < 0x4000) return ppu_.read(address & 7, start, clock);
  const std::uint8_t open_bus = address >> 8;  // open bus: it keeps the high byte of the address
  if (address != 0x4016 && address != 0x4017) return open_bus;
  Controller& controller = controllers_[address & 1];
  // After the eighth button a standard controller returns 1.
  const std::uint8_t bit = controller.position < 8 ? controller.buttons >> controller.position & 1 : 1;
  if (controller.strobe) return (open_bus & 0xE0) | (controller.buttons & 1);
  if (controller.position < 8) ++controller.position;
  return (open_bus & 0xE0) | bit;
}

// Writes to the APU's registers have no effect: there is no sound.
int Machine::write_register(const Cartridge& cartridge, std::uint16_t address, std::uint8_t value, int start) {
  if (address < 0x4000) {
    if (ppu_.write(address & 7, value, start)) interrupt_ = Interrupt::after_next;
    return 0;
  }
  if (address == 0x4014) {  // copies a page of memory to the sprites
    ppu_.sync(start);
    std::array<std::uint8_t, 256> open_bus;
    const std::uint8_t* page = open_bus.data();
    if (value < 0x20) page = &ram[(value & 7) << 8];
    else if (value >= 0x80) page = cartridge.program() + ((value - 0x80) << 8);
    else open_bus.fill(value);
    ppu_.write_sprite_page(page);
    return kTransferCycles * kDots;
  }
  if (address == 0x4016) {
    for (Controller& controller : controllers_) {
      controller.strobe = value & 1;
      if (value & 1) controller.position = 0;
    }
  }
  return 0;
}

}  // namespace a3g
