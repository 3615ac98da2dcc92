#include "max_pool.hpp"

#include <algorithm>
#include <cstring>

// Compilers that support it (gcc 12 with glibc) compile this for several generations of processors, and the program picks
// one at run time. Other compilers compile it for the platform's baseline only.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define A3G_ALL_PROCESSORS __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#else
#define A3G_ALL_PROCESSORS
#endif

namespace a3g {
namespace {

// kPoolChannels numbers each; the compiler splits them into as many registers as needed.
using Bytes = std::uint8_t __attribute__((vector_size(16)));
using Ordered = std::int16_t __attribute__((vector_size(32)));
using Halves = std::uint16_t __attribute__((vector_size(32)));
using Words = std::uint32_t __attribute__((vector_size(64)));
using Floats = float __attribute__((vector_size(64)));

template <typename Vector, typename T>
[[gnu::always_inline]] inline void load(Vector& vector, const T* from) {
  std::memcpy(&vector, from, sizeof(Vector));
}

}  // namespace

A3G_ALL_PROCESSORS void max_pool(const std::uint16_t* x, const PoolShape& shape, std::uint16_t* y, std::uint8_t* winners) {
  const auto [count, height, width, channels] = shape;
  const std::size_t rows = shape.rows(), columns = shape.columns();
  for (std::size_t n = 0; n < count; ++n, x += height * width * channels)
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < columns; ++c, y += channels, winners += channels)
        for (std::size_t first = 0; first < channels; first += kPoolChannels) {
          const std::size_t top = r ? 0 : 1, bottom = std::min<std::size_t>(2, height - 2 * r);
          const std::size_t left = c ? 0 : 1, right = std::min<std::size_t>(2, width - 2 * c);
          Ordered best = Ordered{} + std::int16_t{-0x8000}, where = Ordered{} + static_cast<std::int16_t>(3 * top + left);
          for (std::size_t i = top; i <= bottom; ++i)
            for (std::size_t j = left; j <= right; ++j) {
              Ordered value;
              load(value, x + ((2 * r + i - 1) * width + 2 * c + j - 1) * channels + first);
              // The bits as integers in the order of the numbers: in negative ones all bits but the sign are inverted.
              // That turns -0 into -1, which is set to 0.
              const Ordered is_nan = (value & 0x7FFF) > 0x7F80;
              value ^= (value >> 15) & 0x7FFF;
              value -= value == -1;
              value = is_nan ? Ordered{} + std::int16_t{0x7FFF} : value;
              const Ordered larger = value > best;
              best = larger ? value : best;
              where = larger ? Ordered{} + static_cast<std::int16_t>(3 * i + j) : where;
            }
          best ^= (best >> 15) & 0x7FFF;
          const Bytes places = __builtin_convertvector(where, Bytes);
          std::memcpy(y + first, &best, sizeof best);
          std::memcpy(winners + first, &places, sizeof places);
        }
}

A3G_ALL_PROCESSORS void max_pool_gradient(const std::uint16_t* gradient, const std::uint8_t* winners, const PoolShape& shape,
                                          std::uint16_t* result) {
  using Mask = std::int8_t __attribute__((vector_size(16)));
  using WideMask = std::int32_t __attribute__((vector_size(64)));
  const auto [count, height, width, channels] = shape;
  const std::size_t rows = shape.rows(), columns = shape.columns();
  for (std::size_t n = 0; n < count; ++n) {
    for (std::size_t h = 0; h < height; ++h)
      for (std::size_t w = 0; w < width; ++w, result += channels)
        for (std::size_t first = 0; first < channels; first += kPoolChannels) {
          // The windows that see this place: one or two in each direction.
          const std::size_t last_row = std::min((h + 1) / 2, rows - 1), last_column = std::min((w + 1) / 2, columns - 1);
          Floats sum = {};
          for (std::size_t r = h / 2; r <= last_row; ++r)
            for (std::size_t c = w / 2; c <= last_column; ++c) {
              const std::size_t at = (r * columns + c) * channels + first;
              Bytes places;
              Halves halves;
              load(places, winners + at);
              load(halves, gradient + at);
              const Mask won = places == static_cast<std::uint8_t>(3 * (h + 1 - 2 * r) + (w + 1 - 2 * c));
              const Words bits = (__builtin_convertvector(halves, Words) << 16) &
                                 reinterpret_cast<Words>(__builtin_convertvector(won, WideMask));
              sum += reinterpret_cast<Floats>(bits);
            }
          // To the nearest, to even if halfway; NaN stays NaN.
          const Words bits = reinterpret_cast<Words>(sum);
          const Words rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
          const Words narrow = (bits & 0x7FFFFFFF) > 0x7F800000 ? Words{} + 0x7FC0 : rounded;
          const Halves halves = __builtin_convertvector(narrow, Halves);
          std::memcpy(result + first, &halves, sizeof halves);
        }
    gradient += rows * columns * channels;
    winners += rows * columns * channels;
  }
}

}  // namespace a3g
