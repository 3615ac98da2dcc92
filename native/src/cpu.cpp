#include "cpu.hpp"

#include <algorithm>
#include <initializer_list>
#include <type_traits>
#include <utility>

#include "opcodes.hpp"
#include "optimisations.hpp"
#include "profile.hpp"

namespace a3g {
namespace {

constexpr int kDots = 3;  // PPU dots in a CPU cycle

#define INLINE [[gnu::always_inline]] inline

// The processor while it runs. Its members are in machine registers or on the stack, not in `Machine`. Code is
// read through `ip`, a pointer into the program (or into a copy of three bytes, when the CPU runs code outside
// the program).
struct Core {
  Machine& machine;
  const Cartridge& cartridge;
  std::uint8_t* const ram;
  const std::uint8_t* const program;
  const std::uint8_t* const origin;  // ip - origin + base is the program counter
  const std::uint16_t base;

  const std::uint8_t* ip;
  int left;  // dots until the limit: counts down to 0 or below
  int limit;
  std::uint8_t a, x, y, s;
  unsigned nz;         // Z is set if the low byte is 0, N if bit 7 or bit 15 is set
  std::uint8_t carry;  // 0 or 1
  bool overflow;
  std::uint8_t rest;         // I and D
  bool outside = false;      // a jump left the code that ip points into ...
  std::uint16_t target = 0;  // ... to here

  INLINE std::uint16_t pc() const { return static_cast<std::uint16_t>(ip - origin + base); }
  INLINE int clock() const { return limit - left; }
  INLINE void spend(int cycles) { left -= cycles * kDots; }
  INLINE void end_run() {
    limit -= left;
    left = 0;
  }
  INLINE bool negative_set() const { return nz & 0x8080; }
  INLINE bool zero_set() const { return static_cast<std::uint8_t>(nz) == 0; }
  INLINE bool carry_set() const { return carry; }
  INLINE bool overflow_set() const { return overflow; }

  INLINE std::uint8_t flags() const { return negative_set() << 7 | overflow << 6 | rest | zero_set() << 1 | carry; }
  INLINE void set_flags(std::uint8_t p) {
    overflow = p & 0x40;
    rest = p & 0x0C;
    nz = (p & 0x80) << 8 | !(p & 0x02);
    carry = p & 0x01;
  }
  INLINE void set_nz(std::uint8_t value) { nz = value; }

  // ---- the bus
  template <int kCycles>
  INLINE std::uint8_t load(std::uint16_t address) {
    if (address < 0x2000) [[likely]]
      return ram[address & 0x7FF];
    if (address >= 0x8000) [[likely]]
      return program[address - 0x8000];
    return Cpu::read_slowly(machine, address, clock() - kCycles * kDots, clock());
  }
  template <int kCycles>
  INLINE void store(std::uint16_t address, std::uint8_t value) {
    if (address < 0x2000) [[likely]]
      ram[address & 0x7FF] = value;
    else write_register(address, value, clock() - kCycles * kDots);
  }
  INLINE void write_register(std::uint16_t address, std::uint8_t value, int start) {
    left -= Cpu::write_slowly(machine, cartridge, address, value, start);
    if (machine.interrupt_pending()) end_run();
  }
  INLINE void push(std::uint8_t value) { ram[0x100 | s--] = value; }
  INLINE std::uint8_t pull() { return ram[0x100 | ++s]; }
  INLINE std::uint16_t word(const std::uint8_t* from) const { return static_cast<std::uint16_t>(from[0] | from[1] << 8); }
  INLINE std::uint16_t zero_page_word(std::uint8_t at) const {
    return static_cast<std::uint16_t>(ram[at] | ram[static_cast<std::uint8_t>(at + 1)] << 8);
  }

  // ---- addressing: https://www.nesdev.org/wiki/CPU_addressing_modes
  struct immediate {};
  struct zero_page {};
  struct zero_page_x {};
  struct zero_page_y {};
  struct absolute {};
  struct absolute_x {};
  struct absolute_y {};
  struct indirect_x {};
  struct indirect_y {};

  template <typename Mode>
  static constexpr bool in_zero_page =
      std::is_same_v<Mode, zero_page> || std::is_same_v<Mode, zero_page_x> || std::is_same_v<Mode, zero_page_y>;

  // The address of the operand. kPenalty: a page crossing costs a cycle.
  template <typename Mode, bool kPenalty>
  INLINE std::uint16_t address() {
    if constexpr (std::is_same_v<Mode, zero_page>) return *ip++;
    if constexpr (std::is_same_v<Mode, zero_page_x>) return static_cast<std::uint8_t>(*ip++ + x);
    if constexpr (std::is_same_v<Mode, zero_page_y>) return static_cast<std::uint8_t>(*ip++ + y);
    if constexpr (std::is_same_v<Mode, indirect_x>) return zero_page_word(static_cast<std::uint8_t>(*ip++ + x));
    if constexpr (std::is_same_v<Mode, indirect_y>) return indexed<kPenalty>(zero_page_word(*ip++), y);
    const std::uint16_t at = word(ip);
    ip += 2;
    if constexpr (std::is_same_v<Mode, absolute_x>) return indexed<kPenalty>(at, x);
    if constexpr (std::is_same_v<Mode, absolute_y>) return indexed<kPenalty>(at, y);
    return at;
  }
  template <bool kPenalty>
  INLINE std::uint16_t indexed(std::uint16_t at, std::uint8_t index) {
    const std::uint16_t sum = at + index;
    if constexpr (kPenalty) left -= ((at ^ sum) >> 8) & 1 ? kDots : 0;
    return sum;
  }
  template <typename Mode, int kCycles>
  INLINE std::uint8_t operand() {
    if constexpr (std::is_same_v<Mode, immediate>) return *ip++;
    else if constexpr (in_zero_page<Mode>) return ram[address<Mode, false>()];
    else return load<kCycles>(address<Mode, true>());
  }
  template <typename Mode, int kCycles>
  INLINE void put(std::uint8_t value) {
    if constexpr (in_zero_page<Mode>) ram[address<Mode, false>()] = value;
    else store<kCycles>(address<Mode, false>(), value);
  }

  template <typename Mode, int kCycles, typename Operation>
  INLINE void modify(Operation operation) {
    const std::uint16_t at = address<Mode, false>();
    if constexpr (in_zero_page<Mode>) ram[at] = operation(ram[at]);
    else store<kCycles>(at, operation(load<kCycles>(at)));
  }

  // ---- operations on a byte that was read
  INLINE void adc(std::uint8_t value) {
    const unsigned sum = a + value + carry;
    overflow = ~(a ^ value) & (a ^ sum) & 0x80;
    carry = sum >> 8;
    set_nz(a = static_cast<std::uint8_t>(sum));
  }
  INLINE void sbc(std::uint8_t value) { adc(~value); }
  INLINE void and_(std::uint8_t value) { set_nz(a &= value); }
  INLINE void eor(std::uint8_t value) { set_nz(a ^= value); }
  INLINE void ora(std::uint8_t value) { set_nz(a |= value); }
  INLINE void lda(std::uint8_t value) { set_nz(a = value); }
  INLINE void ldx(std::uint8_t value) { set_nz(x = value); }
  INLINE void ldy(std::uint8_t value) { set_nz(y = value); }
  INLINE void bit(std::uint8_t value) {
    nz = (a & value) | (value & 0x80) << 8;
    overflow = value & 0x40;
  }
  INLINE void compare(std::uint8_t reg, std::uint8_t value) {
    carry = reg >= value;
    set_nz(reg - value);
  }
  INLINE void cmp(std::uint8_t value) { compare(a, value); }
  INLINE void cpx(std::uint8_t value) { compare(x, value); }
  INLINE void cpy(std::uint8_t value) { compare(y, value); }

  // ---- what a store stores
  INLINE std::uint8_t sta() const { return a; }
  INLINE std::uint8_t stx() const { return x; }
  INLINE std::uint8_t sty() const { return y; }

  // ---- operations that change a byte
  INLINE std::uint8_t asl(std::uint8_t value) {
    carry = value >> 7;
    set_nz(value <<= 1);
    return value;
  }
  INLINE std::uint8_t lsr(std::uint8_t value) {
    carry = value & 1;
    set_nz(value >>= 1);
    return value;
  }
  INLINE std::uint8_t rol(std::uint8_t value) {
    const std::uint8_t result = value << 1 | carry;
    carry = value >> 7;
    set_nz(result);
    return result;
  }
  INLINE std::uint8_t ror(std::uint8_t value) {
    const std::uint8_t result = value >> 1 | carry << 7;
    carry = value & 1;
    set_nz(result);
    return result;
  }
  INLINE std::uint8_t inc(std::uint8_t value) {
    set_nz(++value);
    return value;
  }
  INLINE std::uint8_t dec(std::uint8_t value) {
    set_nz(--value);
    return value;
  }

  // ---- the rest
  INLINE void asl_a() { a = asl(a); }
  INLINE void lsr_a() { a = lsr(a); }
  INLINE void rol_a() { a = rol(a); }
  INLINE void ror_a() { a = ror(a); }
  INLINE void tax() { set_nz(x = a); }
  INLINE void tay() { set_nz(y = a); }
  INLINE void txa() { set_nz(a = x); }
  INLINE void tya() { set_nz(a = y); }
  INLINE void tsx() { set_nz(x = s); }
  INLINE void txs() { s = x; }
  INLINE void nop() {}
  INLINE void inx() { set_nz(++x); }
  INLINE void iny() { set_nz(++y); }
  INLINE void dex() { set_nz(--x); }
  INLINE void dey() { set_nz(--y); }
  INLINE void clc() { carry = 0; }
  INLINE void sec() { carry = 1; }
  INLINE void cli() { rest &= ~0x04; }
  INLINE void sei() { rest |= 0x04; }
  INLINE void clv() { overflow = false; }
  INLINE void cld() { rest &= ~0x08; }
  INLINE void sed() { rest |= 0x08; }
  INLINE void pha() { push(a); }
  INLINE void php() { push(flags() | 0x30); }
  INLINE void pla() { set_nz(a = pull()); }
  INLINE void plp() { set_flags(pull()); }

  INLINE void jump(std::uint16_t to) {
    if (origin == program && to >= 0x8000) {
      ip = program + (to - 0x8000);
    } else {
      outside = true;
      target = to;
      end_run();
    }
  }
  INLINE void branch(bool taken) {
    const int offset = static_cast<std::int8_t>(*ip++);
    if (!taken) return;
    const unsigned from = pc();
    const std::uint16_t to = from + offset;
    spend((from ^ to) & 0x100 ? 2 : 1);
    if (origin == program && to >= 0x8000) [[likely]]
      ip += offset;
    else jump(to);
  }
  INLINE void jmp_absolute() {
    const std::uint16_t to = word(ip);
    if (has(Optimisation::jump_skip) && to == static_cast<std::uint16_t>(pc() - 1) && left > 0) {
      // The program waits for an interrupt: nothing changes until the limit.
      constexpr int kRound = 3 * kDots;
      left -= (left + kRound - 1) / kRound * kRound;
    }
    jump(to);
  }
  INLINE void jmp_indirect() {
    const std::uint16_t at = word(ip);  // a bug of the 6502: the carry from the low byte is lost
    const std::uint16_t high = (at & 0xFF00) | ((at + 1) & 0xFF);
    jump(static_cast<std::uint16_t>(load<5>(at) | load<5>(high) << 8));
  }
  INLINE void jsr() {
    const std::uint16_t back = pc() + 1;
    const std::uint16_t to = word(ip);
    push(back >> 8);
    push(back & 0xFF);
    jump(to);
  }
  INLINE void rts() {
    const std::uint8_t low = pull();
    jump(static_cast<std::uint16_t>((low | pull() << 8) + 1));
  }
  INLINE void rti() {
    set_flags(pull());
    const std::uint8_t low = pull();
    jump(static_cast<std::uint16_t>(low | pull() << 8));
  }
  INLINE void brk() {
    const std::uint16_t back = pc() + 1;
    push(back >> 8);
    push(back & 0xFF);
    push(flags() | 0x30);
    rest |= 0x04;
    jump(word(program + 0x7FFE));
  }
  INLINE void lda_absolute() {
    const std::uint16_t at = word(ip);
    ip += 2;
    if (has(Optimisation::wait_skip) && at == 0x2002) skip_wait();
    lda(load<4>(at));
  }

  // LDA 0x2002, AND #0x40, BNE or BEQ back: waits for sprite 0. Whole rounds that read the same flag are
  // skipped; A, flags and PPU are then as after the last of them.
  INLINE void skip_wait() {
    if (ip[0] != 0x29 || ip[1] != 0x40 || (ip[2] != 0xD0 && ip[2] != 0xF0) || ip[3] != 0xF9) return;
    const unsigned after = pc() + 4;
    const int round = (4 + 2 + 3 + (((after ^ (after - 7)) & 0x100) ? 1 : 0)) * kDots;
    left -= Cpu::rounds_to_skip(machine, ip[2] == 0xD0, clock(), limit, round) * round;
  }
};

std::array<const void*, 256> label_table(std::initializer_list<std::pair<std::uint8_t, const void*>> labels,
                                         const void* otherwise) {
  std::array<const void*, 256> table;
  table.fill(otherwise);
  for (const auto& [code, label] : labels) table[code] = label;
  return table;
}

}  // namespace

std::uint8_t Cpu::read_slowly(Machine& machine, std::uint16_t address, int start, int clock) {
  const Clocked clocked(Part::ppu);
  return machine.read_register(address, start, clock);
}

int Cpu::write_slowly(Machine& machine, const Cartridge& cartridge, std::uint16_t address, std::uint8_t value, int start) {
  const Clocked clocked(Part::ppu);
  return machine.write_register(cartridge, address, value, start);
}

int Cpu::rounds_to_skip(Machine& machine, bool while_set, int clock, int limit, int round) {
  const Clocked clocked(Part::ppu);
  const int start = clock - 4 * kDots;
  if (machine.ppu_.hit_flag(start, clock) != while_set) return 0;
  // The rounds until one reads the other flag; each of them must begin before the limit.
  const int change = machine.ppu_.next_hit_change();
  // The flag is set before a read at its dot, and cleared before the instruction that begins at its dot.
  const int until = while_set ? change - start : change == timing::kNever ? change : change - clock;
  const int wanted = until == timing::kNever ? timing::kNever : (until + round - 1) / round;
  return std::max(0, std::min(wanted, (limit - 1 - start) / round));
}

template <bool kProgram>
void Cpu::run(Machine& machine, const Cartridge& cartridge) {
  std::uint8_t outside[3 + 4] = {};  // the current instruction, if it is not in the program
  const std::uint16_t at = machine.cpu_.pc;
  if constexpr (!kProgram)
    for (int i = 0; i < 3; ++i) {
      const std::uint16_t address = at + i;
      outside[i] = address < 0x2000    ? machine.ram[address & 0x7FF]
                   : address >= 0x8000 ? cartridge.program()[address - 0x8000]
                                       : address >> 8;  // open bus: it keeps the last byte
    }
  const std::uint8_t* const program = cartridge.program();
  const Registers& registers = machine.cpu_;
  Core core{
      .machine = machine,
      .cartridge = cartridge,
      .ram = machine.ram.data(),
      .program = program,
      .origin = kProgram ? program : outside,
      .base = kProgram ? std::uint16_t{0x8000} : at,
      .ip = kProgram ? program + (at - 0x8000) : outside,
      .left = kProgram ? machine.limit_ - machine.clock_ : 1,
      .limit = kProgram ? machine.limit_ : machine.clock_ + 1,
      .a = registers.a,
      .x = registers.x,
      .y = registers.y,
      .s = registers.s,
      .nz = 0,
      .carry = 0,
      .overflow = false,
      .rest = 0,
  };
  core.set_flags(registers.p);

#define ENTRY(code, ...) {0x##code, &&code_##code},
  static const auto kLabels = label_table({A3G_OPCODES(ENTRY, ENTRY, ENTRY, ENTRY, ENTRY)}, &&no_instruction);
#undef ENTRY

  // Every instruction ends with its own jump to the next one, so that the branch predictor learns which
  // instruction usually follows it.
  // clang-format off: labels in macros
#define NEXT                                  \
  do {                                        \
    if constexpr (!has(Optimisation::catch_up)) machine.ppu_.sync(core.clock()); \
    if (core.left <= 0) goto end;             \
    goto* kLabels[*core.ip++];                \
  } while (false)
#define READ(code, operation, mode, cycles)         \
  code_##code:                                      \
  core.spend(cycles);                               \
  core.operation(core.operand<Core::mode, cycles>()); \
  NEXT;
#define WRITE(code, operation, mode, cycles)        \
  code_##code:                                      \
  core.spend(cycles);                               \
  core.put<Core::mode, cycles>(core.operation());   \
  NEXT;
#define MODIFY(code, operation, mode, cycles)       \
  code_##code:                                      \
  core.spend(cycles);                               \
  core.modify<Core::mode, cycles>([&](std::uint8_t value) { return core.operation(value); }); \
  NEXT;
#define BRANCH(code, flag, wanted)                  \
  code_##code:                                      \
  core.spend(2);                                    \
  core.branch(core.flag() == (wanted));             \
  NEXT;
#define OTHER(code, operation, cycles)              \
  code_##code:                                      \
  core.spend(cycles);                               \
  core.operation();                                 \
  NEXT;
  // clang-format on

  NEXT;
  A3G_OPCODES(READ, WRITE, MODIFY, BRANCH, OTHER)

no_instruction:
  --core.ip;
  // Guard bytes follow the program's last byte: the CPU has left the program, this is no unofficial instruction.
  if (!kProgram || core.ip < program + Cartridge::kProgramSize) {
    machine.halted_ = true;
    core.left = 0;
  } else {
    core.jump(core.pc());
  }

end:
  machine.cpu_ = {
      .pc = core.outside ? core.target : core.pc(), .a = core.a, .x = core.x, .y = core.y, .s = core.s, .p = core.flags()};
  machine.clock_ = core.clock();
}

template void Cpu::run<true>(Machine&, const Cartridge&);
template void Cpu::run<false>(Machine&, const Cartridge&);

}  // namespace a3g
