// From a drawn frame to the agent's observation: area resize of a crop, equal to OpenCV's INTER_AREA.
#pragma once

#include <cstdint>
#include <vector>

#include "ppu.hpp"

namespace a3g {

struct Crop {
  int top = 0, bottom = Canvas::kHeight, left = 0, right = 256;
  int height() const { return bottom - top; }
  int width() const { return right - left; }
};

class AreaResize {
 public:
  // Throws std::invalid_argument if the crop is not inside the picture, or smaller than the result.
  AreaResize(const Crop& crop, int height, int width);

  int height() const { return height_; }
  int width() const { return width_; }

  // Shrinks the crop of a canvas's pixels into `result`, (height, width). With `earlier`, takes the brighter
  // pixel of the two pictures. Allocates nothing; several threads may call it at once.
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

  Crop crop_;
  int height_, width_;
  std::vector<Share> rows_, columns_;
};

}  // namespace a3g
