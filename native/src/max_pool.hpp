// Max pooling of 3 x 3 windows, stride 2, padding 1, on channels-last arrays of bfloat16, and its gradient.
#pragma once

#include <cstddef>
#include <cstdint>

namespace a3g {

struct PoolShape {
  std::size_t count, height, width, channels;
  std::size_t rows() const { return (height + 1) / 2; }
  std::size_t columns() const { return (width + 1) / 2; }
};

// Channels are processed in groups of this size: `channels` must be a multiple of it.
inline constexpr std::size_t kPoolChannels = 16;

// From x (count, height, width, channels), bfloat16 by its bits, to y (count, rows, columns, channels). `winners`, of y's
// shape, takes the place in each window of its first largest number, 0 to 8 in reading order; NaN is the largest.
void max_pool(const std::uint16_t* x, const PoolShape& shape, std::uint16_t* y, std::uint8_t* winners);

// The gradient of x from y's, of the same shapes; sums are taken in float32.
void max_pool_gradient(const std::uint16_t* gradient, const std::uint8_t* winners, const PoolShape& shape,
                       std::uint16_t* result);

}  // namespace a3g
