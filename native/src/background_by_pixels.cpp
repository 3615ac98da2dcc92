// Draws the background pixel by pixel, as https://www.nesdev.org/wiki/PPU_rendering describes it. Only builds
// without Optimisation::tiles use this.
#include "ppu.hpp"

namespace a3g {

void Ppu::draw_background_by_pixels(int first, int last) {
  const std::uint16_t v = v_;
  for (int line = first; line < last; ++line, step_down(1)) {
    std::uint8_t* pixels = canvas_->line(line);
    for (int x = canvas_->left; x < canvas_->right; ++x) {
      const int fine_x = line == split_line_ && x < split_x_ ? split_fine_x_ : fine_x_;
      const int plane_x = (v_ & 0x1F) * 8 + fine_x + x;
      const unsigned at = ((v_ & 0x7FE0) ^ (plane_x & 0x100 ? 0x0400 : 0)) | ((plane_x >> 3) & 0x1F);
      const unsigned tile = (control_ & 0x10) << 4 | names_[name_index(at)];
      const std::uint8_t* pattern = &cartridge_->patterns()[tile * 16 + (at >> 12 & 7)];
      const unsigned bit = 7 - (plane_x & 7);
      const unsigned colour = (pattern[0] >> bit & 1) | (pattern[8] >> bit & 1) << 1;
      const unsigned attribute = names_[name_index((at & 0x0C00) | 0x03C0 | ((at >> 4) & 0x38) | ((at >> 2) & 7))];
      const unsigned set = attribute >> (((at >> 4) & 4) | (at & 2)) & 3;
      const bool shown = background_on() && (x >= 8 || mask_ & 0x02) && colour;
      pixels[x] = canvas_->values[palette_[shown ? set * 4 + colour : 0]];
    }
  }
  v_ = v;
}

}  // namespace a3g
