// The picture processor: registers, scrolling, the sprite-0 hit, and drawing by scanline.
//
// Nothing here runs dot by dot. `sync(start)` brings the scroll registers and flags up to date. It is called
// before the CPU touches a PPU register and at the end of a frame.
// The names v, t, fine x are those of https://www.nesdev.org/wiki/PPU_scrolling.
#pragma once

#include <array>
#include <cstdint>
#include <limits>

#include "cartridge.hpp"

namespace a3g {

// Which sprites each line shows: up to eight, frontmost first.
struct LineSprites {
  std::array<std::uint8_t, 240> count;
  std::array<std::array<std::uint8_t, 8>, 240> sprite;
};

// Where and how to draw a frame: one byte a pixel, looked up in a table of 64 values (grey, the palette index
// itself, ...). Outside the region at most a tile's width is drawn over.
struct Canvas {
  static constexpr int kMargin = 8;  // pixels that a half-visible tile may touch on either side
  static constexpr int kStride = kMargin + 256 + kMargin;
  static constexpr int kHeight = 240;
  static constexpr std::size_t kBytes = std::size_t{kStride} * kHeight;

  std::uint8_t* pixels;        // kBytes
  const std::uint8_t* values;  // 64
  LineSprites* sprites;        // scratch memory
  int top = 0, bottom = 240, left = 0, right = 256;

  std::uint8_t* line(int y) const { return pixels + y * kStride + kMargin; }
};

// One frame in dots. It begins with scanline 240, the first after the picture, as in FCEUmm, whose frame ends
// with the picture.
namespace timing {
constexpr int kLine = 341;
constexpr int kVblank = kLine;                      // flag set
constexpr int kInterrupt = kVblank + 12;            // NMI, if asked for
constexpr int kVblankEnd = kLine + 20 * kLine;      // flags cleared: the line before the picture
constexpr int kScrollCopy = kVblankEnd + 256 + 69;  // v = t
constexpr int kPicture = kVblankEnd + kLine;        // scanline 0; one dot earlier in odd frames
constexpr int kLineEnd = 256;                       // in a line: its last pixel; v moves one line down
constexpr int kHorizontalCopy = kLineEnd + 6;       // in a line: the horizontal part of v = t's
constexpr int kPrefetch = 16;                       // a tile is fetched this many dots before its first pixel
constexpr int kFrame = kPicture + 240 * kLine;
constexpr int kNever = std::numeric_limits<int>::max();
}  // namespace timing

class Ppu {
 public:
  void power_on() { *this = Ppu{}; }

  // A frame in which the PPU is still warming up shows nothing and keeps its flags.
  void begin_frame(const Cartridge& cartridge, const Canvas* canvas, bool odd, bool warming_up);
  void sync(int start);
  // Clears what only this frame needs, so that equal machines are equal bytes.
  void end_frame();

  bool interrupts_on_vblank() const { return control_ & 0x80; }

  // Registers 0x2000..0x2007. `write` returns whether it raises an interrupt after the next instruction.
  std::uint8_t read(unsigned reg, int start, int clock);
  bool write(unsigned reg, std::uint8_t value, int start);
  void write_sprite(std::uint8_t value);
  void write_sprite_page(const std::uint8_t* page);

  // Whether an instruction reads the sprite-0 hit in the status, and the first dot at which that may change.
  bool hit_flag(int start, int clock);
  int next_hit_change();

 private:
  friend struct StateFile;

  enum Phase : std::uint8_t { warming_up, before_vblank, vblank, before_picture, picture };
  static constexpr std::uint8_t kVblankFlag = 0x80, kHitFlag = 0x40;

  bool background_on() const { return mask_ & 0x08; }
  bool sprites_on() const { return mask_ & 0x10; }
  bool rendering() const { return mask_ & 0x18; }
  int line_start(int line) const { return picture_start_ + line * timing::kLine; }

  void finish_lines(int start);
  void step_down(int lines);
  int find_hit() const;
  void settle_hit(int clock);
  // The row of eight pixels that v points at.
  const TileRow& background_row(std::uint16_t v) const {
    return cartridge_->tile((control_ & 0x10) << 4 | names_[name_index(v)])[v >> 12 & 7];
  }
  TileRow sprite_row(const std::uint8_t* sprite, int row) const;
  std::uint64_t background_mask(int x, std::uint16_t v) const;

  void draw(int first, int last);
  void draw_background(int first, int last);
  void draw_background_by_pixels(int first, int last);
  void draw_sprites(int line);
  void sort_sprites();

  // The index in the PPU's two name tables of an address in the four that it addresses (mirroring).
  unsigned name_index(unsigned address) const {
    const unsigned table = cartridge_->vertical_mirroring() ? address >> 10 : address >> 11;
    return (table & 1) << 10 | (address & 0x3FF);
  }

  // Part of save states.
  std::array<std::uint8_t, 0x800> names_{};
  std::array<std::uint8_t, 0x100> sprites_{};
  std::array<std::uint8_t, 32> palette_{};
  std::array<std::uint8_t, 3> backdrop_copies_{};  // palette entries 4, 8, 12: readable, never shown
  std::uint8_t control_ = 0, mask_ = 0, status_ = 0;
  std::uint8_t sprite_address_ = 0;
  std::uint8_t bus_ = 0;  // the last byte on the PPU's bus
  std::uint8_t read_buffer_ = 0;
  std::uint8_t fine_x_ = 0;
  bool second_write_ = false;
  std::uint16_t v_ = 0, t_ = 0;

  // Used within one frame only.
  const Cartridge* cartridge_ = nullptr;
  const Canvas* canvas_ = nullptr;
  Phase phase_ = warming_up;
  int picture_start_ = timing::kPicture;
  int lines_done_ = 0;   // lines whose last pixel is past
  int copies_done_ = 0;  // lines whose horizontal copy is past
  bool hit_known_ = false;
  int hit_ = timing::kNever;       // the dot at which the hit becomes visible, if hit_known_
  int split_line_ = -1;            // a line in which fine x changed ...
  int split_x_ = 0;                // ... at this pixel ...
  std::uint8_t split_fine_x_ = 0;  // ... from this value
  bool sprites_sorted_ = false;
};

}  // namespace a3g
