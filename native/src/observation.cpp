#include "observation.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

namespace a3g {
namespace {

const std::uint8_t* line_of(const std::uint8_t* pixels, int y) { return pixels + y * Canvas::kStride + Canvas::kMargin; }

// A line of the crop; with `earlier`, the brighter pixels of the two lines, in `merged`.
const std::uint8_t* merge(const std::uint8_t* line, const std::uint8_t* earlier, int width, std::uint8_t* merged) {
  if (earlier == nullptr) return line;
  for (int x = 0; x < width; ++x) merged[x] = std::max(line[x], earlier[x]);
  return merged;
}

}  // namespace

AreaResize::AreaResize(const Crop& crop, int height, int width) : crop_(crop), height_(height), width_(width) {
  if (crop.top < 0 || crop.left < 0 || crop.bottom > Canvas::kHeight || crop.right > 256 || crop.top >= crop.bottom ||
      crop.left >= crop.right)
    throw std::invalid_argument("the crop must lie within 240 rows and 256 columns and not be empty");
  if (height < 1 || width < 1 || height > crop.height() || width > crop.width())
    throw std::invalid_argument("an observation of " + std::to_string(height) + " x " + std::to_string(width) +
                                " cannot be shrunk from a crop of " + std::to_string(crop.height()) + " x " +
                                std::to_string(crop.width()));
  rows_ = shares(crop.height(), height);
  columns_ = shares(crop.width(), width);
}

std::vector<AreaResize::Share> AreaResize::shares(int from, int to) {
  constexpr double kNothing = 1e-3;  // OpenCV leaves out a share of less than a thousandth of a pixel
  std::vector<Share> result;
  const double scale = static_cast<double>(from) / to;
  for (int i = 0; i < to; ++i) {
    const double begin = i * scale, end = begin + scale;
    const double cell = std::min(scale, from - begin);
    int first = static_cast<int>(std::ceil(begin));
    const int last = std::min(static_cast<int>(std::floor(end)), from - 1);
    first = std::min(first, last);
    if (first - begin > kNothing) result.push_back({first - 1, i, static_cast<float>((first - begin) / cell)});
    for (int whole = first; whole < last; ++whole) result.push_back({whole, i, static_cast<float>(1.0 / cell)});
    if (end - last > kNothing)
      result.push_back({last, i, static_cast<float>(std::min(std::min(end - last, 1.0), cell) / cell)});
  }
  return result;
}

void AreaResize::operator()(const std::uint8_t* pixels, const std::uint8_t* earlier, std::uint8_t* result) const {
  const int height = crop_.height(), width = crop_.width();
  if (height * 2 == height_ * 5 && width * 2 == width_ * 5) five_to_two(pixels, earlier, result);
  else if (height % height_ == 0 && width % width_ == 0) by_whole_factors(pixels, earlier, result);
  else by_shares(pixels, earlier, result);
}

// Factor 2.5, as from 200 x 200 to 80 x 80: five pixels make two, with shares 2 2 1 and 1 2 2 out of 5.
// Whole numbers throughout; a 25th never lies half way between two greys, so that rounding has no ties.
void AreaResize::five_to_two(const std::uint8_t* pixels, const std::uint8_t* earlier, std::uint8_t* result) const {
  const int width = crop_.width();
  std::array<std::array<std::uint8_t, 256>, 5> merged;
  std::array<std::uint16_t, 256> upper, lower;
  const auto shrink = [this](const std::uint16_t* line, std::uint8_t* to) {
    for (int i = 0; i < width_; i += 2, line += 5) {
      to[i] = (2 * (line[0] + line[1]) + line[2] + 12) / 25;
      to[i + 1] = (line[2] + 2 * (line[3] + line[4]) + 12) / 25;
    }
  };
  for (int y = crop_.top; y < crop_.bottom; y += 5, result += 2 * width_) {
    std::array<const std::uint8_t*, 5> line;
    for (int i = 0; i < 5; ++i)
      line[i] = merge(line_of(pixels, y + i) + crop_.left, earlier ? line_of(earlier, y + i) + crop_.left : nullptr, width,
                      merged[i].data());
    for (int x = 0; x < width; ++x) {
      upper[x] = 2 * (line[0][x] + line[1][x]) + line[2][x];
      lower[x] = line[2][x] + 2 * (line[3][x] + line[4][x]);
    }
    shrink(upper.data(), result);
    shrink(lower.data(), result + width_);
  }
}

void AreaResize::by_whole_factors(const std::uint8_t* pixels, const std::uint8_t* earlier, std::uint8_t* result) const {
  const int rows = crop_.height() / height_, columns = crop_.width() / width_;
  const float share = 1.0f / (rows * columns);
  std::array<std::uint8_t, 256> merged;
  std::array<std::uint32_t, 256> sums;
  for (int y = 0; y < height_; ++y, result += width_) {
    sums.fill(0);
    for (int row = 0; row < rows; ++row) {
      const int at = crop_.top + y * rows + row;
      const std::uint8_t* line = merge(line_of(pixels, at) + crop_.left, earlier ? line_of(earlier, at) + crop_.left : nullptr,
                                       crop_.width(), merged.data());
      for (int x = 0; x < width_; ++x)
        for (int column = 0; column < columns; ++column) sums[x] += line[x * columns + column];
    }
    // OpenCV rounds halves up for factors of two, to even for others.
    const bool two = rows == 2 && columns == 2;
    for (int x = 0; x < width_; ++x)
      result[x] = two ? (sums[x] + 2) / 4 : static_cast<std::uint8_t>(std::lrintf(sums[x] * share));
  }
}

void AreaResize::by_shares(const std::uint8_t* pixels, const std::uint8_t* earlier, std::uint8_t* result) const {
  std::array<std::uint8_t, 256> merged;
  std::array<float, 256> line_sums, sums{};
  const auto finish = [&](int y) {
    for (int x = 0; x < width_; ++x)
      result[y * width_ + x] = static_cast<std::uint8_t>(std::clamp(std::lrintf(sums[x]), 0L, 255L));
  };
  int row_of_sums = 0;
  for (const Share& row : rows_) {
    const int at = crop_.top + row.from;
    const std::uint8_t* line = merge(line_of(pixels, at) + crop_.left, earlier ? line_of(earlier, at) + crop_.left : nullptr,
                                     crop_.width(), merged.data());
    std::fill_n(line_sums.begin(), width_, 0.0f);
    for (const Share& column : columns_) line_sums[column.to] += line[column.from] * column.weight;
    if (row.to != row_of_sums) {
      finish(row_of_sums);
      std::fill_n(sums.begin(), width_, 0.0f);
      row_of_sums = row.to;
    }
    for (int x = 0; x < width_; ++x) sums[x] += row.weight * line_sums[x];
  }
  finish(row_of_sums);
}

}  // namespace a3g
