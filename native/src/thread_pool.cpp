#include "thread_pool.hpp"

#include <utility>

namespace a3g {

ThreadPool::ThreadPool(int threads) {
  for (int thread = 1; thread < threads; ++thread) threads_.emplace_back([this, thread] { serve(thread); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  begin_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::share(int pieces, std::function<void(int, int)> work) {
  {
    const std::lock_guard lock(mutex_);
    work_ = std::move(work);
    pieces_ = pieces;
    next_ = 0;
    failure_ = nullptr;
    busy_ = static_cast<int>(threads_.size());
    ++round_;
  }
  begin_.notify_all();
  take(0);
  std::unique_lock lock(mutex_);
  end_.wait(lock, [this] { return busy_ == 0; });
  work_ = nullptr;
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void ThreadPool::take(int thread) {
  try {
    for (int piece = next_++; piece < pieces_; piece = next_++) work_(piece, thread);
  } catch (...) {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
}

void ThreadPool::serve(int thread) {
  unsigned seen = 0;
  std::unique_lock lock(mutex_);
  for (;;) {
    begin_.wait(lock, [&] { return stop_ || round_ != seen; });
    if (stop_) return;
    seen = round_;
    lock.unlock();
    take(thread);
    lock.lock();
    if (--busy_ == 0) end_.notify_one();
  }
}

}  // namespace a3g
