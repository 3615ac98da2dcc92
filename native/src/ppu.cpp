#include "ppu.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "optimisations.hpp"
#include "profile.hpp"

namespace a3g {
namespace {

static_assert(std::endian::native == std::endian::little, "masks are eight pixels in a little-endian word");

constexpr int kStoreDots = 12;                 // a store to a register reaches it at the end of its four cycles
constexpr std::uint16_t kHorizontal = 0x041F;  // the bits of v that the horizontal copy takes from t

std::uint64_t load8(const std::uint8_t* from) {
  std::uint64_t word;
  std::memcpy(&word, from, 8);
  return word;
}

void store8(std::uint8_t* to, std::uint64_t word) { std::memcpy(to, &word, 8); }

std::uint64_t all8(std::uint8_t value) { return value * std::uint64_t{0x0101010101010101}; }

// The next tile to the right, in the other name table after the 32nd.
std::uint16_t next_tile(std::uint16_t v) { return (v & 0x1F) == 0x1F ? v ^ kHorizontal : v + 1; }

// One line down; after the 30th row of tiles it continues in the name table below, as on the hardware.
std::uint16_t next_line(std::uint16_t v) {
  if ((v & 0x7000) != 0x7000) return v + 0x1000;
  v &= 0x0FFF;
  const unsigned row = (v >> 5) & 31;
  if (row == 29) return (v & ~0x03E0) ^ 0x0800;
  if (row == 31) return v & ~0x03E0;
  return v + 0x20;
}

// Four colours as masks: colour of a pixel = base ^ (low & by_low) ^ (high & by_high) ^ (low & high & by_both).
struct Colours {
  std::uint64_t base, by_low, by_high, by_both;

  Colours(std::uint8_t c0, std::uint8_t c1, std::uint8_t c2, std::uint8_t c3)
      : base(all8(c0)), by_low(all8(c0 ^ c1)), by_high(all8(c0 ^ c2)), by_both(all8(c0 ^ c1 ^ c2 ^ c3)) {}

  std::uint64_t operator()(const TileRow& row) const {
    return base ^ (row.low & by_low) ^ (row.high & by_high) ^ (row.low & row.high & by_both);
  }
};

}  // namespace

// ---- time ------------------------------------------------------------------------------------------

void Ppu::begin_frame(const Cartridge& cartridge, const Canvas* canvas, bool odd, bool warming) {
  cartridge_ = &cartridge;
  canvas_ = canvas;
  phase_ = warming ? warming_up : before_vblank;
  picture_start_ = timing::kPicture - odd;
  lines_done_ = copies_done_ = 0;
  hit_known_ = false;
  split_line_ = -1;
  sprites_sorted_ = false;
}

void Ppu::end_frame() {
  if (phase_ == warming_up && canvas_ != nullptr)
    for (int y = canvas_->top; y < canvas_->bottom; ++y)
      std::memset(canvas_->line(y) + canvas_->left, canvas_->values[0], canvas_->right - canvas_->left);
  cartridge_ = nullptr;
  canvas_ = nullptr;
}

// An event takes place before the first instruction that begins at its dot or later, as in FCEUmm. So the start
// of the instruction counts here, not its end.
void Ppu::sync(int start) {
  if (phase_ == before_vblank && start >= timing::kVblank) {
    status_ |= kVblankFlag;
    sprite_address_ = 0;
    phase_ = vblank;
  }
  if (phase_ == vblank && start >= timing::kVblankEnd) {
    status_ = 0;
    phase_ = before_picture;
  }
  if (phase_ == before_picture && start >= timing::kScrollCopy) {
    if (rendering()) v_ = t_;
    phase_ = picture;
  }
  if (phase_ == picture && start >= line_start(lines_done_) + timing::kLineEnd) finish_lines(start);
}

void Ppu::finish_lines(int start) {
  const int since = start - picture_start_;
  const auto passed = [since](int dot) {
    return since < dot ? 0 : std::min((since - dot) / timing::kLine + 1, Canvas::kHeight);
  };
  const int lines = passed(timing::kLineEnd);
  const int copies = passed(timing::kHorizontalCopy);
  const auto copy_horizontal = [this] {
    if (rendering()) v_ = (v_ & ~kHorizontal) | (t_ & kHorizontal);
  };
  if (!hit_known_ && !(status_ & kHitFlag)) {
    hit_ = find_hit();
    hit_known_ = true;
  }
  if (!(status_ & kHitFlag) && hit_ < line_start(lines)) status_ |= kHitFlag;

  if (lines > lines_done_ && copies_done_ < lines_done_) {
    copy_horizontal();
    copies_done_ = lines_done_;
  }
  if (lines > lines_done_) {  // the first line has its own horizontal scroll, the others have t's
    if (canvas_ != nullptr) draw(lines_done_, lines_done_ + 1);
    step_down(1);
    ++lines_done_;
  }
  if (lines > lines_done_) {
    copy_horizontal();
    if (canvas_ != nullptr) draw(lines_done_, lines);
    step_down(lines - lines_done_);
    lines_done_ = lines;
    copies_done_ = lines - 1;
  }
  if (copies > copies_done_) {
    copy_horizontal();
    copies_done_ = copies;
  }
}

// Moves v down by `lines` lines; without rendering it stays.
void Ppu::step_down(int lines) {
  if (!rendering()) return;
  for (; lines > 0; --lines) v_ = next_line(v_);
}

// ---- the sprite-0 hit -------------------------------------------------------------------------------

// Row 0 is the top one on the screen: both flips are applied here.
TileRow Ppu::sprite_row(const std::uint8_t* sprite, int row) const {
  const bool tall = control_ & 0x20;
  if (sprite[2] & 0x80) row = (tall ? 15 : 7) - row;
  unsigned tile = sprite[1];
  if (tall) tile = ((tile & 1) << 8) | (tile & 0xFE) | (row >> 3);
  else tile |= (control_ & 0x08) << 5;
  TileRow pixels = cartridge_->tile(tile)[row & 7];
  if (sprite[2] & 0x40) pixels = {__builtin_bswap64(pixels.low), __builtin_bswap64(pixels.high)};
  return pixels;
}

// A mask of the eight pixels from x on: those of the background that are not backdrop. v is the one at the left
// edge of the line.
std::uint64_t Ppu::background_mask(int x, std::uint16_t v) const {
  if (!background_on()) return 0;
  const int plane_x = (v & 0x1F) * 8 + fine_x_ + x;
  const auto tile_at = [this, v](int tile) {
    const std::uint16_t at = (v & ~0x1F & 0x7FFF) ^ (tile & 32 ? 0x0400 : 0);
    const TileRow& row = background_row(at | (tile & 31));
    return row.low | row.high;
  };
  const int shift = (plane_x & 7) * 8;
  std::uint64_t mask = tile_at(plane_x >> 3) >> shift;
  if (shift) mask |= tile_at((plane_x >> 3) + 1) << (64 - shift);
  if (!(mask_ & 0x02) && x < 8) mask = x == 0 ? 0 : mask & ~std::uint64_t{0} << (8 * (8 - x));
  return mask;
}

// The dot of the first sprite-0 hit in the lines that are left, provided that nothing is written to the PPU
// before.
int Ppu::find_hit() const {
  if (!background_on() || !sprites_on()) return timing::kNever;
  const int top = sprites_[0] + 1;
  const int x = sprites_[3];
  const int height = control_ & 0x20 ? 16 : 8;
  std::uint16_t v = phase_ == picture ? v_ : t_;
  bool copied = copies_done_ == lines_done_;
  for (int line = lines_done_; line < std::min(top + height, Canvas::kHeight); ++line) {
    if (!copied) v = (v & ~kHorizontal) | (t_ & kHorizontal);
    if (line >= top) {
      const TileRow sprite = sprite_row(sprites_.data(), line - top);
      std::uint64_t both = (sprite.low | sprite.high) & background_mask(x, v);
      if (x > 247) both = x == 255 ? 0 : both & ~std::uint64_t{0} >> (8 * (x - 247));  // never in column 255
      if (both) {
        // Line 0 is fetched at the same dot in odd and even frames, the others a dot earlier in odd ones.
        const int fetching = (line == 0 ? timing::kPicture : line_start(line)) - timing::kPrefetch;
        return fetching + timing::kPrefetch + 1 + x + std::countr_zero(both) / 8;
      }
    }
    v = next_line(v);
    copied = false;
  }
  return timing::kNever;
}

void Ppu::settle_hit(int clock) {
  if (phase_ != picture || (status_ & kHitFlag)) return;
  if (!hit_known_) {
    hit_ = find_hit();
    hit_known_ = true;
  }
  if (clock >= hit_) status_ |= kHitFlag;
}

bool Ppu::hit_flag(int start, int clock) {
  sync(start);
  settle_hit(clock);
  return status_ & kHitFlag;
}

int Ppu::next_hit_change() {
  if (phase_ == warming_up) return timing::kNever;
  if (phase_ < before_picture) return timing::kVblankEnd;
  if (status_ & kHitFlag) return timing::kNever;
  if (!hit_known_) {
    hit_ = find_hit();
    hit_known_ = true;
  }
  return hit_;
}

// ---- registers ---------------------------------------------------------------------------------------

std::uint8_t Ppu::read(unsigned reg, int start, int clock) {
  sync(start);
  if (reg == 2) {
    settle_hit(clock);
    bus_ = status_ | (bus_ & 0x1F);
    status_ &= ~kVblankFlag;
    second_write_ = false;
    return bus_;
  }
  if (reg != 7) return bus_;
  const unsigned address = v_ & 0x3FFF;
  std::uint8_t value = read_buffer_;
  if (address >= 0x3F00) {  // the palette is read at once; the buffer takes the name table's byte
    value = address & 3      ? palette_[address & 0x1F]
            : address & 0x0C ? backdrop_copies_[((address & 0x0C) >> 2) - 1]
                             : palette_[0];
    if (mask_ & 1) value &= 0x30;
    read_buffer_ = names_[name_index(address)];
  } else {
    bus_ = read_buffer_;
    read_buffer_ = address < 0x2000 ? cartridge_->patterns()[address] : names_[name_index(address)];
  }
  if (rendering() && phase_ == picture && lines_done_ < Canvas::kHeight) step_down(1);
  else v_ = (v_ + (control_ & 0x04 ? 32 : 1)) & 0x7FFF;
  hit_known_ = false;
  return value;
}

bool Ppu::write(unsigned reg, std::uint8_t value, int start) {
  bool interrupt = false;
  sync(start);
  if (phase_ == picture) settle_hit(start + kStoreDots);
  hit_known_ = false;
  bus_ = value;
  switch (reg) {
    case 0:
      interrupt = !(control_ & 0x80) && (value & 0x80) && (status_ & kVblankFlag);
      if ((control_ ^ value) & 0x20) sprites_sorted_ = false;
      control_ = value;
      t_ = (t_ & ~0x0C00) | (value & 3) << 10;
      break;
    case 1: mask_ = value; break;
    case 3: sprite_address_ = value; break;
    case 4: write_sprite(value); break;
    case 5:
      if (!second_write_) {
        if (phase_ == picture && lines_done_ < Canvas::kHeight && fine_x_ != (value & 7)) {
          // Tiles already fetched keep the old fine scroll.
          const int tiles = ((start + kStoreDots - line_start(lines_done_) + timing::kPrefetch) >> 3) - 2;
          if (tiles > 0) {
            split_line_ = lines_done_;
            split_x_ = std::min(tiles * 8, 256);
            split_fine_x_ = fine_x_;
          }
        }
        t_ = (t_ & ~0x001F) | value >> 3;
        fine_x_ = value & 7;
      } else {
        t_ = (t_ & ~0x73E0) | (value & 0xF8) << 2 | (value & 7) << 12;
      }
      second_write_ = !second_write_;
      break;
    case 6:
      if (!second_write_) {
        t_ = (t_ & 0x00FF) | (value & 0x3F) << 8;
      } else {
        t_ = (t_ & 0xFF00) | value;
        v_ = t_;
      }
      second_write_ = !second_write_;
      break;
    case 7: {
      const unsigned address = v_ & 0x3FFF;
      if (address >= 0x3F00) {
        if (address & 3) palette_[address & 0x1F] = value & 0x3F;
        else if (address & 0x0C) backdrop_copies_[((address & 0x0C) >> 2) - 1] = value & 0x3F;
        else palette_[0] = value & 0x3F;
      } else if (address >= 0x2000) {
        names_[name_index(address)] = value;
      }  // patterns are ROM
      v_ = (v_ + (control_ & 0x04 ? 32 : 1)) & 0x7FFF;
      break;
    }
    default: break;
  }
  return interrupt;
}

void Ppu::write_sprite(std::uint8_t value) {
  sprites_[sprite_address_++] = value;
  sprites_sorted_ = false;
  hit_known_ = false;
}

// 256 bytes, after which the address is the same again.
void Ppu::write_sprite_page(const std::uint8_t* page) {
  const std::size_t first = sprites_.size() - sprite_address_;
  std::memcpy(&sprites_[sprite_address_], page, first);
  std::memcpy(sprites_.data(), page + first, sprite_address_);
  sprites_sorted_ = false;
  hit_known_ = false;
}

// ---- drawing -----------------------------------------------------------------------------------------

// Draws lines first..last-1. v is that of the first line; from line to line only its vertical part changes.
void Ppu::draw(int first, int last) {
  const Clocked clocked(Part::drawing);
  const int top = std::max(first, canvas_->top);
  const int bottom = std::min(last, canvas_->bottom);
  if (top >= bottom) return;
  const std::uint16_t v = v_;
  step_down(top - first);
  if constexpr (has(Optimisation::tiles)) draw_background(top, bottom);
  else draw_background_by_pixels(top, bottom);
  v_ = v;
  if (!sprites_on()) return;
  if (!sprites_sorted_) sort_sprites();
  step_down(top - first);
  for (int line = top; line < bottom; ++line) {
    if (canvas_->sprites->count[line]) draw_sprites(line);
    step_down(1);
  }
  v_ = v;
}

void Ppu::draw_background(int first, int last) {
  const std::uint8_t* values = canvas_->values;
  const int left = canvas_->left, right = canvas_->right;
  if (!background_on()) {
    for (int line = first; line < last; ++line) std::memset(canvas_->line(line) + left, values[palette_[0]], right - left);
    return;
  }
  const auto colours = [this, values](int set) {
    return Colours(values[palette_[0]], values[palette_[set * 4 + 1]], values[palette_[set * 4 + 2]],
                   values[palette_[set * 4 + 3]]);
  };
  const Colours sets[4] = {colours(0), colours(1), colours(2), colours(3)};
  const std::uint16_t v = v_;
  for (int line = first; line < last;) {
    // The lines that show the same row of tiles.
    const unsigned row = (v_ >> 12) & 7;
    const int lines = std::min(last - line, 8 - static_cast<int>(row));
    const int skipped = (left + fine_x_) >> 3;
    std::uint16_t at = v_;
    for (int tile = 0; tile < skipped; ++tile) at = next_tile(at);
    for (int x = skipped * 8 - fine_x_; x < right; x += 8) {
      const unsigned attribute = names_[name_index((at & 0x0C00) | 0x03C0 | ((at >> 4) & 0x38) | ((at >> 2) & 7))];
      const Colours& set = sets[(attribute >> (((at >> 4) & 4) | (at & 2))) & 3];
      const TileRow* rows = &background_row(at);
      std::uint8_t* to = canvas_->line(line) + x;
      for (int i = 0; i < lines; ++i, to += Canvas::kStride) store8(to, set(rows[i]));
      at = next_tile(at);
    }
    if (!(mask_ & 0x02) && left < 8)
      for (int i = 0; i < lines; ++i) std::memset(canvas_->line(line + i), values[palette_[0]], 8);
    step_down(lines);
    line += lines;
  }
  v_ = v;

  if (split_line_ >= first && split_line_ < last) {  // draw its left part again, with the earlier fine scroll
    const int line = split_line_;
    split_line_ = -1;
    std::array<std::uint8_t, 256> right_part;
    std::memcpy(right_part.data(), canvas_->line(line), 256);
    step_down(line - first);
    std::swap(fine_x_, split_fine_x_);
    draw_background(line, line + 1);
    std::swap(fine_x_, split_fine_x_);
    v_ = v;
    std::memcpy(canvas_->line(line) + split_x_, right_part.data() + split_x_, 256 - split_x_);
  }
}

// Up to eight sprites a line, in the order of sprite memory: the first is in front. Line 0 never shows one.
void Ppu::sort_sprites() {
  const int height = control_ & 0x20 ? 16 : 8;
  LineSprites& lines = *canvas_->sprites;
  lines.count.fill(0);
  for (int sprite = 0; sprite < 64; ++sprite) {
    const int top = sprites_[sprite * 4] + 1;
    for (int line = top; line < std::min(top + height, Canvas::kHeight); ++line)
      if (lines.count[line] < 8) lines.sprite[line][lines.count[line]++] = static_cast<std::uint8_t>(sprite);
  }
  sprites_sorted_ = true;
}

void Ppu::draw_sprites(int line) {
  const int count = canvas_->sprites->count[line];
  const auto& which = canvas_->sprites->sprite[line];
  std::uint8_t* pixels = canvas_->line(line);
  // The foremost sprite decides a pixel, even if it is behind the background there.
  std::array<std::uint8_t, 256 + 8> taken;
  bool any_behind = false;
  for (int i = 0; i < count; ++i) any_behind |= sprites_[which[i] * 4 + 2] & 0x20;
  if (any_behind || !(mask_ & 0x04)) taken.fill(0);
  if (!(mask_ & 0x04)) std::memset(taken.data(), 0xFF, 8);

  const auto blend = [&](int index, bool front_to_back) {
    const std::uint8_t* sprite = &sprites_[which[index] * 4];
    const int x = sprite[3];
    if (x + 8 <= canvas_->left || x >= canvas_->right) return;
    const TileRow row = sprite_row(sprite, line - sprite[0] - 1);
    const std::uint8_t* entry = &palette_[16 + (sprite[2] & 3) * 4];
    const Colours colours(0, canvas_->values[entry[1]], canvas_->values[entry[2]], canvas_->values[entry[3]]);
    std::uint64_t mask = row.low | row.high;
    if (front_to_back) {
      const std::uint64_t earlier = load8(&taken[x]);
      store8(&taken[x], earlier | mask);
      mask &= ~earlier;
      if (sprite[2] & 0x20) mask &= ~background_mask(x, v_);
    }
    store8(pixels + x, (load8(pixels + x) & ~mask) | (colours(row) & mask));
  };
  if (any_behind || !(mask_ & 0x04)) {
    for (int i = 0; i < count; ++i) blend(i, true);
  } else {
    for (int i = count - 1; i >= 0; --i) blend(i, false);
  }
}

}  // namespace a3g
