#include "game_state.hpp"

#include <bit>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "checksum.hpp"
#include "state.hpp"

namespace a3g {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are stored in the machine's byte order");

constexpr std::uint32_t kMagic = 0x47473341;  // "A3GG"
constexpr std::uint32_t kVersion = 2;         // version 1 had no index of the reward: it was a3g, the first one
constexpr std::int64_t kAnyNumber = 0xFFFFFFFF;

void append(std::vector<std::uint8_t>& bytes, const void* data, std::size_t size) {
  const auto* from = static_cast<const std::uint8_t*>(data);
  bytes.insert(bytes.end(), from, from + size);
}

// Every number takes four bytes.
struct Writer {
  static constexpr std::int64_t kLeast = -0x7FFFFFFF, kMost = 0x7FFFFFFF, kAny = kAnyNumber;
  std::vector<std::uint8_t> bytes;

  template <typename T>
  void operator()(T& value, std::int64_t = 0, std::int64_t = 0) {
    const auto number = static_cast<std::uint32_t>(value);
    append(bytes, &number, sizeof number);
  }
  template <typename T, typename Each>
  void list(std::vector<T>& values, Each each) {
    std::size_t size = values.size();
    (*this)(size);
    for (T& value : values) each(value);
  }
};

struct Reader {
  static constexpr std::int64_t kLeast = -0x7FFFFFFF, kMost = 0x7FFFFFFF, kAny = kAnyNumber;
  std::span<const std::uint8_t> bytes;
  bool valid = true;

  template <typename T>
  void operator()(T& value, std::int64_t smallest, std::int64_t largest) {
    std::uint32_t number = 0;
    if (!valid || bytes.size() < sizeof number) {
      valid = false;
      return;
    }
    std::memcpy(&number, bytes.data(), sizeof number);
    bytes = bytes.subspan(sizeof number);
    const std::int64_t read = smallest < 0 ? static_cast<std::int64_t>(static_cast<std::int32_t>(number)) : number;
    if (read >= smallest && read <= largest) value = static_cast<T>(read);
    else valid = false;
  }
  template <typename T, typename Each>
  void list(std::vector<T>& values, Each each) {
    std::size_t size = 0;
    (*this)(size, 0, static_cast<std::int64_t>(bytes.size()));  // no list is longer than what is left
    values.clear();
    for (; valid && size > 0; --size) {
      values.emplace_back();
      each(values.back());
    }
  }
};

}  // namespace

template <typename Archive>
void GameState::fields(Lane& lane, Episode& episode, Archive&& archive) {
  archive(lane.frames_, 0, 3);
  for (std::uint8_t& buttons : lane.buttons_) archive(buttons, 0, 0xFF);
  for (Stage* stage : {&episode.stage_, &episode.attempted_}) {
    archive(stage->world, 0, 0x100);
    archive(stage->stage, 0, 0x100);
  }
  archive(episode.time_per_stage_, archive.kLeast, archive.kMost);
  archive(episode.clock_at_start_, archive.kLeast, archive.kMost);
  episode.progress_.fields(archive);
  std::visit([&archive](auto& reward) { reward.fields(archive); }, episode.reward_);
}

std::vector<std::uint8_t> GameState::save(const Lane& lane, const Episode& episode, const Cartridge& cartridge) {
  Writer writer;
  std::uint32_t magic = kMagic, version = kVersion;
  writer(magic);
  writer(version);
  std::size_t reward = episode.reward_.index();
  writer(reward);
  for (const Machine* machine : {&lane.machine_, &lane.before_[0], &lane.before_[1]}) {
    const std::vector<std::uint8_t> state = StateFile::save(*machine, cartridge);
    append(writer.bytes, state.data(), state.size());
  }
  fields(const_cast<Lane&>(lane), const_cast<Episode&>(episode), writer);  // a Writer only reads
  const std::uint32_t sum = crc32(writer.bytes);
  append(writer.bytes, &sum, sizeof sum);
  return std::move(writer.bytes);
}

void GameState::load(Lane& lane, Episode& episode, const Cartridge& cartridge, std::span<const std::uint8_t> bytes) {
  const auto refuse = [](const std::string& sentence) { throw std::invalid_argument(sentence); };
  std::uint32_t magic = 0, version = 0, sum = 0;
  Reader reader{bytes};
  reader(magic, 0, kAnyNumber);
  if (magic != kMagic) refuse("this is no game of a3g_native");
  reader(version, 0, kAnyNumber);
  if (reader.valid && (version < 1 || version > kVersion))
    refuse("this game has version " + std::to_string(version) + ": version 1 to " + std::to_string(kVersion) + " is expected");
  std::size_t reward = 0;
  if (version >= 2) reader(reward, 0, kAnyNumber);
  const std::size_t size = StateFile::save(Machine(cartridge), cartridge).size();
  if (reader.bytes.size() < 3 * size + sizeof sum) refuse("this game is damaged: it is too short");
  std::memcpy(&sum, bytes.data() + bytes.size() - sizeof sum, sizeof sum);
  if (sum != crc32(bytes.first(bytes.size() - sizeof sum)))
    refuse("this game is damaged: its " + std::to_string(bytes.size()) + " bytes do not agree with their checksum");
  if (reward != episode.reward_.index()) {
    const std::vector<std::string_view> names = reward_names();
    const std::string found(reward < names.size() ? names[reward] : "unknown");
    refuse("this game was played for the reward " + found + ": " + std::string(names[episode.reward_.index()]) +
           " is expected");
  }
  Lane loaded(cartridge);
  Episode loaded_episode = episode;
  for (Machine* machine : {&loaded.machine_, &loaded.before_[0], &loaded.before_[1]}) {
    StateFile::load(*machine, cartridge, reader.bytes.first(size));
    reader.bytes = reader.bytes.subspan(size);
  }
  fields(loaded, loaded_episode, reader);
  if (!reader.valid || reader.bytes.size() != sizeof sum)
    refuse("this game is damaged: the state of its episode makes no sense");
  loaded.frame_buffers_ = lane.frame_buffers_;
  loaded.part_ = lane.part_;
  lane = loaded;
  episode = std::move(loaded_episode);
}

}  // namespace a3g
