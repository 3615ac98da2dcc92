#include "lane.hpp"

#include <algorithm>

#include "optimisations.hpp"
#include "profile.hpp"

namespace a3g {

void Lane::replace(const Machine& machine) {
  machine_ = machine;
  forget_frames();
}

void Lane::forget_frames() {
  frames_ = 0;
  drawn_ = 0;
}

void Lane::keep_last_frame() {
  if (frames_ == 0) return;
  const int last = (frames_ - 1) & 1;
  if (last != 0) before_[0] = before_[last];
  buttons_[0] = buttons_[last];
  frames_ = 1;
  drawn_ = 0;
}

void Lane::use(FrameBuffers& frame_buffers, const Canvas& part) {
  frame_buffers_ = &frame_buffers;
  part_ = part;
  drawn_ = 0;
}

Canvas Lane::canvas(int frame) const {
  Canvas canvas = part_;
  canvas.pixels = frame_buffers_->pixels[frame & 1].data();
  canvas.sprites = &frame_buffers_->sprites;
  return canvas;
}

void Lane::run(std::uint8_t buttons, bool draw) {
  if (draw) {
    const Canvas on = canvas(frames_);
    machine_.frame(*cartridge_, buttons, &on);
  } else {
    machine_.frame(*cartridge_, buttons, nullptr);
  }
}

void Lane::frame(std::uint8_t buttons, bool draw) {
  if constexpr (!has(Optimisation::unseen_frames)) draw = true;
  {
    const Clocked clocked(Part::copies);
    before_[frames_ & 1] = machine_;
  }
  buttons_[frames_ & 1] = buttons;
  run(buttons, draw);
  drawn_ = draw ? std::min(drawn_ + 1, 2) : 0;
  // Only whether there were none, one or more matters, and which of the two is the last.
  frames_ = frames_ < 3 ? frames_ + 1 : 2;
}

const std::uint8_t* Lane::picture(bool two, const std::uint8_t** earlier) {
  const int wanted = std::min(two ? 2 : 1, frames_);
  if (drawn_ < wanted) {
    const Clocked clocked(Part::copies);
    const Machine now = machine_;
    const int last = frames_;
    for (frames_ -= wanted; frames_ < last; ++frames_) {
      machine_ = before_[frames_ & 1];
      run(buttons_[frames_ & 1], true);
    }
    machine_ = now;
    drawn_ = wanted;
  }
  *earlier = wanted == 2 ? frame_buffers_->pixels[frames_ & 1].data() : nullptr;
  return frame_buffers_->pixels[(frames_ + 1) & 1].data();
}

}  // namespace a3g
