// How far an attempt at a stage has come, as in a3g/game/progress.py.
#pragma once

#include <cstdint>
#include <vector>

#include "memory.hpp"

namespace a3g {

class Progress {
 public:
  void start(const Ram& ram);

  // Counts an agent step that ended in `ram`; returns its pixels of new ground.
  int step(const Ram& ram);

  int pixels() const { return pixels_; }

  // Visits what a saved game holds.
  template <typename Archive>
  void fields(Archive& archive) {
    archive(pixels_, archive.kLeast, archive.kMost);
    archive.list(furthest_, [&](Furthest& each) {
      archive(each.area, 0, archive.kAny);
      archive(each.x, archive.kLeast, archive.kMost);
    });
  }

 private:
  struct Furthest {
    std::uint32_t area;
    int x;
  };

  int pixels_ = 0;
  std::vector<Furthest> furthest_;
};

}  // namespace a3g
