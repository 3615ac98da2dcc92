// A thread pool for numbered pieces of work. Between two calls its threads sleep.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace a3g {

class ThreadPool {
 public:
  // The calling thread works too, so `threads` - 1 threads are started.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Calls work(piece, thread) for every piece once, and returns when all are done. The first exception
  // is thrown again here. Not to be called from two threads at once.
  template <typename Work>
  void each(int pieces, const Work& work) {
    if (threads_.empty()) {
      for (int piece = 0; piece < pieces; ++piece) work(piece, 0);
    } else {
      share(pieces, std::cref(work));
    }
  }

 private:
  void share(int pieces, std::function<void(int, int)> work);
  void take(int thread);
  void serve(int thread);

  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable begin_, end_;
  std::function<void(int, int)> work_;
  std::atomic<int> next_ = 0;
  int pieces_ = 0;
  unsigned round_ = 0;
  int busy_ = 0;
  bool stop_ = false;
  std::exception_ptr failure_;
};

}  // namespace a3g
