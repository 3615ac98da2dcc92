#include "state.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <string>

#include "checksum.hpp"

namespace a3g {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are stored in the machine's byte order");

constexpr std::uint32_t kMagic = 0x53473341;  // "A3GS"
constexpr std::uint32_t kVersion = 1;
// The CPU may be at most this far into the next frame: one instruction with a sprite transfer.
constexpr int kMaxClock = 4096;

struct Writer {
  std::vector<std::uint8_t> bytes;

  template <typename T>
  void operator()(T& value, T = {}) {
    static_assert(std::is_integral_v<T> || std::is_enum_v<T>);
    const auto* from = reinterpret_cast<const std::uint8_t*>(&value);
    bytes.insert(bytes.end(), from, from + sizeof value);
  }
  template <std::size_t kSize>
  void operator()(std::array<std::uint8_t, kSize>& array, std::uint8_t = 0) {
    bytes.insert(bytes.end(), array.begin(), array.end());
  }
};

// Every value is checked against the largest one possible for its field.
struct Reader {
  std::span<const std::uint8_t> bytes;
  bool valid = true;

  template <typename T>
  void operator()(T& value, T largest) {
    // A bool or an enumeration may only be written once the byte is known to be one of its values.
    std::conditional_t<sizeof(T) == 1, std::uint8_t, T> raw{};
    take(&raw, sizeof raw);
    if (valid && raw >= decltype(raw){} && raw <= static_cast<decltype(raw)>(largest)) value = static_cast<T>(raw);
    else valid = false;
  }
  template <std::size_t kSize>
  void operator()(std::array<std::uint8_t, kSize>& array, std::uint8_t largest) {
    take(array.data(), kSize);
    for (const std::uint8_t value : array) valid = valid && value <= largest;
  }
  void take(void* to, std::size_t size) {
    if (bytes.size() < size) {
      valid = false;
      return;
    }
    std::memcpy(to, bytes.data(), size);
    bytes = bytes.subspan(size);
  }
};

}  // namespace

template <typename Archive>
void StateFile::fields(Machine& machine, Archive&& archive) {
  constexpr std::uint8_t kByte = 0xFF;
  Registers& cpu = machine.cpu_;
  Ppu& ppu = machine.ppu_;
  archive(machine.ram, kByte);
  archive(cpu.pc, std::uint16_t{0xFFFF});
  for (std::uint8_t* reg : {&cpu.a, &cpu.x, &cpu.y, &cpu.s, &cpu.p}) archive(*reg, kByte);
  archive(ppu.names_, kByte);
  archive(ppu.sprites_, kByte);
  archive(ppu.palette_, std::uint8_t{0x3F});
  archive(ppu.backdrop_copies_, std::uint8_t{0x3F});
  for (std::uint8_t* reg : {&ppu.control_, &ppu.mask_, &ppu.status_, &ppu.sprite_address_, &ppu.bus_, &ppu.read_buffer_})
    archive(*reg, kByte);
  archive(ppu.fine_x_, std::uint8_t{7});
  archive(ppu.second_write_, true);
  archive(ppu.v_, std::uint16_t{0x7FFF});
  archive(ppu.t_, std::uint16_t{0x7FFF});
  for (Controller& controller : machine.controllers_) {
    archive(controller.buttons, kByte);
    archive(controller.strobe, std::uint8_t{1});
    archive(controller.position, std::uint8_t{8});
  }
  archive(machine.clock_, kMaxClock);
  archive(machine.interrupt_, Interrupt::after_next);
  archive(machine.warm_up_frames_, kByte);
  archive(machine.odd_frame_, true);
  archive(machine.halted_, true);
}

std::vector<std::uint8_t> StateFile::save(const Machine& machine, const Cartridge& cartridge) {
  Writer writer;
  std::uint32_t magic = kMagic, version = kVersion, rom = cartridge.checksum();
  writer(magic);
  writer(version);
  writer(rom);
  fields(const_cast<Machine&>(machine), writer);  // a Writer only reads
  std::uint32_t sum = crc32(writer.bytes);
  writer(sum);
  return std::move(writer.bytes);
}

void StateFile::load(Machine& machine, const Cartridge& cartridge, std::span<const std::uint8_t> bytes) {
  const auto refuse = [](const std::string& sentence) { throw std::invalid_argument(sentence); };
  constexpr std::uint32_t kAny = 0xFFFFFFFF;
  std::uint32_t magic = 0, version = 0, rom = 0, sum = 0;
  Reader reader{bytes};
  reader(magic, kAny);
  if (magic != kMagic) refuse("this is no save state of a3g_native");
  reader(version, kAny);
  if (reader.valid && version != kVersion)
    refuse("this save state has version " + std::to_string(version) + ": version " + std::to_string(kVersion) + " is expected");
  reader(rom, kAny);
  Machine loaded(cartridge);
  fields(loaded, reader);
  const std::size_t size = bytes.size() - reader.bytes.size();
  reader(sum, kAny);
  if (!reader.valid || !reader.bytes.empty() || sum != crc32(bytes.first(size)))
    refuse("this save state is damaged: its " + std::to_string(bytes.size()) + " bytes do not agree with their checksum");
  if (rom != cartridge.checksum()) refuse("this save state belongs to another ROM");
  machine = loaded;
}

}  // namespace a3g
