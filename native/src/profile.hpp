// A profiler for builds with -DA3G_PROFILE=ON (benchmarks/native_speed.py): the time of each part, without that
// of the parts it calls. In any other build `Clocked` does nothing.
#pragma once

#include <array>
#include <cstdint>

#if defined(A3G_PROFILE) && !defined(__x86_64__)
#include <chrono>
#endif

namespace a3g {

enum class Part { outside, rules, copies, cpu, ppu, drawing, resizing };
inline constexpr std::array kPartNames{"outside", "rules", "copies", "cpu", "ppu", "drawing", "resizing"};

#ifdef A3G_PROFILE
constexpr bool kProfiled = true;

inline std::int64_t ticks_now() {
#ifdef __x86_64__
  return static_cast<std::int64_t>(__builtin_ia32_rdtsc());
#else
  return std::chrono::steady_clock::now().time_since_epoch().count();
#endif
}

// For one thread: a profiling build supports `threads=1` only.
struct Profile {
  struct Account {
    std::int64_t ticks = 0;
    std::int64_t entries = 0;  // how often it was entered ...
    std::int64_t calls = 0;    // ... and how often it entered another part
  };
  std::array<Account, kPartNames.size()> parts;
  Part current = Part::outside;
  std::int64_t since = ticks_now();

  void change(Part next) {
    const std::int64_t now = ticks_now();
    // No part takes longer than this: another process had the processor in between.
    constexpr std::int64_t kAway = 1'000'000;
    if (now - since < kAway) parts[static_cast<int>(current)].ticks += now - since;
    since = now;
    current = next;
  }
};
inline Profile profile;

// Counts the time to the end of the scope to `part`.
class Clocked {
 public:
  explicit Clocked(Part part) : before_(profile.current) {
    ++profile.parts[static_cast<int>(before_)].calls;
    ++profile.parts[static_cast<int>(part)].entries;
    profile.change(part);
  }
  ~Clocked() { profile.change(before_); }
  Clocked(const Clocked&) = delete;

 private:
  Part before_;
};

struct Taken {
  double ticks;   // in the part since the last call of take_profile
  double clocks;  // how many of them reading the clock took, estimated with empty parts
};

inline std::array<Taken, kPartNames.size()> take_profile() {
  constexpr int kTimes = 100'000;
  const Profile found = profile;
  profile = Profile{};
  for (int i = 0; i < kTimes; ++i) const Clocked nothing(Part::cpu);
  const double entry = static_cast<double>(profile.parts[static_cast<int>(Part::cpu)].ticks) / kTimes;
  const double call = static_cast<double>(profile.parts[static_cast<int>(Part::outside)].ticks) / kTimes;
  std::array<Taken, kPartNames.size()> result;
  for (std::size_t i = 0; i < result.size(); ++i) {
    const Profile::Account& part = found.parts[i];
    result[i] = {static_cast<double>(part.ticks), entry * part.entries + call * part.calls};
  }
  profile = Profile{};
  return result;
}
#else
constexpr bool kProfiled = false;

struct Clocked {
  explicit Clocked(Part) {}
};
#endif

}  // namespace a3g
