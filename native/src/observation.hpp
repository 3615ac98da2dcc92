// From a drawn frame to what the agent sees: area resize of a cut, equal to OpenCV's INTER_AREA.
#pragma once

#include <cstdint>
#include <vector>

#include "ppu.hpp"

namespace a3g {

struct Cut {
  int top = 0, bottom = Canvas::kHeight, left = 0, right = 256;
  int height() const { return bottom - top; }
  int width() const { return right - left; }
};

class AreaResize {
 public:
  // Throws std::invalid_argument if the cut is not inside of the picture, or smaller than the result.
  AreaResize(const Cut& cut, int height, int width);

  int height() const { return height_; }
  int width() const { return width_; }

  // Shrinks the cut of a canvas' pixels into `result`, (height, width). With `earlier`, the brighter of
  // the two pictures. Needs no memory; may be called from several threads.
  void operator()(const std::uint8_t* pixels, const std::uint8_t* earlier, std::uint8_t* result) const;

 private:
  // A source pixel's share in a result pixel, in OpenCV's order and arithmetic (32-bit floats).
  struct Share {
    int from, to;
    float weight;
  };
  static std::vector<Share> shares(int from, int to);

  void five_to_two(const std::uint8_t* pixels, const std::uint8_t* earlier, std::uint8_t* result) const;
  void by_whole_factors(const std::uint8_t* pixels, const std::uint8_t* earlier, std::uint8_t* result) const;
  void by_shares(const std::uint8_t* pixels, const std::uint8_t* earlier, std::uint8_t* result) const;

  Cut cut_;
  int height_, width_;
  std::vector<Share> rows_, columns_;
};

}  // namespace a3g
