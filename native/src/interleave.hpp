// Pictures in the layout that convolutions are fast on (channels last): every byte is looked up in a table, and the
// pictures of a stack become the channels of each pixel.
#pragma once

#include <cstddef>
#include <cstdint>

namespace a3g {

// result[n][pixel][i] = table[pictures[n][i][pixel]], for `count` stacks of `stack` pictures.
template <typename T>
void interleave(const std::uint8_t* pictures, std::size_t count, std::size_t stack, std::size_t pixels, const T* table,
                T* result) {
  for (std::size_t n = 0; n < count; ++n, pictures += stack * pixels, result += stack * pixels) {
    if (stack == 4) {  // the usual size: the four results of a pixel are written at once
      const std::uint8_t *a = pictures, *b = a + pixels, *c = b + pixels, *d = c + pixels;
      for (std::size_t i = 0; i < pixels; ++i) {
        T* to = result + 4 * i;
        to[0] = table[a[i]];
        to[1] = table[b[i]];
        to[2] = table[c[i]];
        to[3] = table[d[i]];
      }
    } else {
      for (std::size_t i = 0; i < stack; ++i)
        for (std::size_t pixel = 0; pixel < pixels; ++pixel) result[pixel * stack + i] = table[pictures[i * pixels + pixel]];
    }
  }
}

}  // namespace a3g
