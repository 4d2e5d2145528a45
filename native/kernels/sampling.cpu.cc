// One row, one thread. Rows are cut into blocks of columns whose maxima are kept: what top-k and top-p keep is found by collecting the few
// columns above a threshold, from the few blocks that reach it, then by partial selection among those. Nothing is sorted.
#include "sampling.h"

#include <algorithm>
#include <limits>
#include <string>

#include "common/philox.h"
#include "common/types.h"

namespace lantern::LANTERN_ISA {

namespace {

constexpr int64_t kBlock = 128;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kGreedyBelow = 1e-5f;

struct Settings {
  float temperature, topP, penalty;
  int64_t topK;
};

struct Candidate {
  float z;
  int32_t id;
  double weight;
};

struct Failure {
  enum Kind : int32_t { none, notFinite, nothing, previousId, memory } kind;
  int32_t id;
};

bool ranksBefore(const Candidate& a, const Candidate& b) { return a.z > b.z || (a.z == b.z && a.id < b.id); }

// A thread's scratch: z padded with -infinity to whole blocks, and room for every column as a candidate.
struct Scratch {
  float *z, *blockMax, *ranked;
  Candidate* candidates;
  int64_t blocks;

  static int64_t blocksOf(int64_t limit) { return (limit + kBlock - 1) / kBlock; }
  static size_t bytes(int64_t limit) {
    const size_t blocks = size_t(blocksOf(limit));
    return blocks * kBlock * (sizeof(Candidate) + sizeof(float)) + 2 * blocks * sizeof(float);
  }
  Scratch(void* memory, int64_t limit) : blocks(blocksOf(limit)) {
    candidates = static_cast<Candidate*>(memory);
    z = reinterpret_cast<float*>(candidates + blocks * kBlock);
    blockMax = z + blocks * kBlock;
    ranked = blockMax + blocks;
  }
};

// Copies the row as float32. Returns its maximum, NaN when it holds NaN or +infinity.
template <class T>
float loadRow(const T* logits, int64_t limit, Scratch& s) {
  vint bad = {};
  vfloat top = splat(-kInfinity);
  for (int64_t i = 0; i < limit; i += kLanes) {
    vfloat v = loadPart(logits + i, limit - i);
    store(s.z + i, v);
    bad |= ~(v < kInfinity);
    if (i + kLanes <= limit) top = max(v, top);
  }
  std::fill(s.z + limit, s.z + s.blocks * kBlock, -kInfinity);
  for (int64_t i = limit / kLanes * kLanes; i < limit; ++i) top[0] = std::max(top[0], s.z[i]);
  for (int k = 0; k < kLanes; ++k)
    if (bad[k]) return std::numeric_limits<float>::quiet_NaN();
  return maxOf(top);
}

// From the row as it came, so that an id that comes twice is penalised once.
template <class T>
void penalize(const T* logits, const int32_t* previous, int64_t count, float penalty, int64_t limit, Scratch& s) {
  for (int64_t i = 0; i < count; ++i) {
    if (previous[i] >= limit) continue;
    const float z = toFloat(logits[previous[i]]);
    s.z[previous[i]] = z > 0 ? z / penalty : z * penalty;
  }
}

float findMaxima(Scratch& s) {
  float top = -kInfinity;
  for (int64_t b = 0; b < s.blocks; ++b) {
    vfloat m = load(s.z + b * kBlock);
    for (int64_t i = kLanes; i < kBlock; i += kLanes) m = max(load(s.z + b * kBlock + i), m);
    s.blockMax[b] = maxOf(m);
    top = std::max(top, s.blockMax[b]);
  }
  return top;
}

int32_t firstOf(float value, const Scratch& s) {
  const int64_t block = std::find(s.blockMax, s.blockMax + s.blocks, value) - s.blockMax;
  return int32_t(std::find(s.z + block * kBlock, s.z + (block + 1) * kBlock, value) - s.z);
}

// The sum of e^((x - shift) * scale) over n floats; n need not be whole vectors.
template <class T>
double sumExp(const T* x, int64_t n, float shift, float scale) {
  double total = 0;
  for (int64_t b = 0; b < n; b += kBlock) {
    vfloat part = {};
    const int64_t end = std::min(n, b + kBlock);
    int64_t i = b;
    for (; i + kLanes <= end; i += kLanes) part += exp((load(x + i) - shift) * scale);
    if (i < end) {  // lanes past the end must not count as e^0
      float rest[kLanes];
      std::fill_n(rest, kLanes, -kInfinity);
      for (int64_t k = i; k < end; ++k) rest[k - i] = toFloat(x[k]);
      part += exp((load(rest) - shift) * scale);
    }
    total += double(sum(part));
  }
  return total;
}

// A draw from the whole row: block sums first, then within the block where the cumulative sum passes u. Overwrites z with the weights.
int32_t drawFromAll(float top, float scale, double u, Scratch& s) {
  double total = 0;
  for (int64_t b = 0; b < s.blocks; ++b) {
    vfloat part = {};
    for (float* z = s.z + b * kBlock; z < s.z + (b + 1) * kBlock; z += kLanes) {
      const vfloat w = exp((load(z) - top) * scale);
      store(z, w);
      part += w;
    }
    s.blockMax[b] = sum(part);
    total += double(s.blockMax[b]);
  }
  double left = u * total;
  int64_t block = -1;
  for (int64_t b = 0; b < s.blocks; ++b) {
    if (!(s.blockMax[b] > 0)) continue;
    block = b;  // rounding may leave `left` just above 0 at the end: then the last block with any weight has it
    if (left < double(s.blockMax[b])) break;
    left -= double(s.blockMax[b]);
  }
  int64_t chosen = -1;
  for (int64_t i = block * kBlock; i < (block + 1) * kBlock; ++i) {
    if (!(s.z[i] > 0)) continue;
    chosen = i;
    if (left < double(s.z[i])) break;
    left -= double(s.z[i]);
  }
  return int32_t(chosen);
}

// Columns with z >= threshold, by id.
int64_t collect(float threshold, Scratch& s) {
  int64_t n = 0;
  for (int64_t b = 0; b < s.blocks; ++b) {
    if (s.blockMax[b] < threshold) continue;
    for (int64_t i = b * kBlock; i < (b + 1) * kBlock; ++i) {
      s.candidates[n] = {s.z[i], int32_t(i), 0};
      n += s.z[i] >= threshold && s.z[i] > -kInfinity;
    }
  }
  return n;
}

double weigh(Candidate* c, int64_t n, float top, float scale) {
  double total = 0;
  for (int64_t i = 0; i < n; i += kLanes) {
    float z[kLanes] = {};
    const int64_t count = std::min<int64_t>(kLanes, n - i);
    for (int64_t k = 0; k < count; ++k) z[k] = c[i + k].z;
    store(z, exp((load(z) - top) * scale));
    for (int64_t k = 0; k < count; ++k) total += c[i + k].weight = double(z[k]);
  }
  return total;
}

// The k best, unordered. The k-th best block maximum bounds the k-th best column from below, so few columns are looked at.
int64_t keepTopK(int64_t k, Scratch& s) {
  float threshold = -kInfinity;
  if (k <= s.blocks) {
    std::copy_n(s.blockMax, s.blocks, s.ranked);
    std::nth_element(s.ranked, s.ranked + (k - 1), s.ranked + s.blocks, std::greater<float>());
    threshold = s.ranked[k - 1];
  }
  const int64_t n = collect(threshold, s);
  if (n <= k) return n;
  std::nth_element(s.candidates, s.candidates + (k - 1), s.candidates + n, ranksBefore);
  return k;
}

// The fewest best whose weights reach `target`, moved to the front: each round settles half of what is left.
int64_t keepMass(Candidate* c, int64_t n, double target) {
  int64_t low = 0, high = n;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    std::nth_element(c + low, c + middle, c + high, ranksBefore);
    double mass = 0;
    for (int64_t i = low; i < middle; ++i) mass += c[i].weight;
    if (mass >= target) high = middle;
    else {
      target -= mass;
      low = middle;
    }
  }
  return high;
}

// Candidates for top-p alone: columns within e^-margin of the best, the margin doubled until they hold the mass that is wanted.
int64_t collectMass(float top, const Settings& t, double target, Scratch& s) {
  for (float margin = 4;; margin *= 2) {
    const bool all = margin > 128;  // beyond the smallest weight that float32 can tell from 0
    const int64_t n = collect(all ? -kInfinity : top - margin * t.temperature, s);
    if (weigh(s.candidates, n, top, 1 / t.temperature) >= target || all) return n;
  }
}

// The n candidates that are left, back in the order of ids: those of all columns that rank no later than the last of them.
int64_t inOrder(int64_t n, Scratch& s) {
  const Candidate last = *std::max_element(s.candidates, s.candidates + n, ranksBefore);
  Candidate* end = s.candidates + collect(last.z, s);
  return std::remove_if(s.candidates, end, [&](const Candidate& c) { return ranksBefore(last, c); }) - s.candidates;
}

int32_t drawTruncated(float top, const Settings& t, double u, int64_t limit, Scratch& s) {
  const float scale = 1 / t.temperature;
  int64_t n;
  double total;
  if (t.topK > 0 && t.topK < limit) {
    n = keepTopK(t.topK, s);
    total = weigh(s.candidates, n, top, scale);
  } else {
    total = sumExp(s.z, limit, top, scale);
    n = collectMass(top, t, t.topP * total, s);
  }
  if (t.topP < 1) n = keepMass(s.candidates, n, t.topP * total);
  n = inOrder(n, s);
  double left = u * weigh(s.candidates, n, top, scale);
  int32_t chosen = s.candidates[0].id;
  for (int64_t i = 0; i < n; ++i) {
    if (!(s.candidates[i].weight > 0)) continue;
    chosen = s.candidates[i].id;
    if (left < s.candidates[i].weight) break;
    left -= s.candidates[i].weight;
  }
  return chosen;
}

template <class T>
Failure sampleRow(const SamplingParams& p, int64_t row, Scratch s) {
  const T* logits = static_cast<const T*>(p.logits) + row * p.cols;
  const int32_t* draw = p.draws + row * 5;
  const Settings t{p.settings[row * 3], p.settings[row * 3 + 1], p.settings[row * 3 + 2], draw[0]};

  const float rawTop = loadRow(logits, p.limit, s);
  if (rawTop != rawTop) return {Failure::notFinite, 0};
  if (rawTop == -kInfinity) return {Failure::nothing, 0};
  if (p.previous && t.penalty != 1) {
    const int32_t begin = p.cuPrevious[row], end = p.cuPrevious[row + 1];
    for (int32_t i = begin; i < end; ++i)
      if (p.previous[i] < 0 || p.previous[i] >= p.cols) return {Failure::previousId, p.previous[i]};
    penalize(logits, p.previous + begin, end - begin, t.penalty, p.limit, s);
  }
  const float top = findMaxima(s);
  if (!std::isfinite(top)) return {Failure::notFinite, 0};  // an absurd penalty
  int32_t id;
  if (t.temperature < kGreedyBelow || t.topK == 1) id = firstOf(top, s);
  else {
    const double u = philoxUniform(uint32_t(draw[1]), uint32_t(draw[2]), {{uint32_t(draw[4]), uint32_t(draw[3]), 0, 0}});
    const bool whole = (t.topK <= 0 || t.topK >= p.limit) && t.topP >= 1;
    id = whole ? drawFromAll(top, 1 / t.temperature, u, s) : drawTruncated(top, t, u, p.limit, s);
  }
  p.ids[row] = id;
  if (p.logProbs) p.logProbs[row] = float(double(toFloat(logits[id])) - rawTop - std::log(sumExp(logits, p.limit, rawTop, 1)));
  return {Failure::none, 0};
}

Status describe(const Failure& f, int64_t row, int64_t cols) {
  const std::string where = "sampling: row " + std::to_string(row);
  switch (f.kind) {
    case Failure::notFinite:
      return Status::error(Code::invalidArgument, where + " of the logits holds NaN or +infinity; check the weights and the input of the model");
    case Failure::nothing:
      return Status::error(Code::invalidArgument, where + " of the logits is -infinity everywhere; leave at least one token unmasked");
    case Failure::previousId:
      return Status::error(Code::outOfRange, where + " has the previous id " + std::to_string(f.id) + ", outside [0, " + std::to_string(cols) + ")");
    default: return Status::error(Code::outOfMemory, "sampling: no memory for a row of float32 logits");
  }
}

}  // namespace

Status sampling(const SamplingParams& p, Context& c) {
  Failure* failures = static_cast<Failure*>(c.workspace.shared(size_t(p.rows + 1) * sizeof(Failure)));
  if (!failures) return describe({Failure::memory, 0}, 0, p.cols);
  return forType(p.dtype, [&](auto t) {
    c.pool.parallel(p.rows, [&](int64_t row, int thread) {
      void* memory = c.workspace.local(thread, Scratch::bytes(p.limit));
      failures[row] = memory ? sampleRow<decltype(t)>(p, row, Scratch(memory, p.limit)) : Failure{Failure::memory, 0};
    });
    for (int64_t row = 0; row < p.rows; ++row)
      if (failures[row].kind != Failure::none) return describe(failures[row], row, p.cols);
    return Status::fine();
  });
}

}  // namespace lantern::LANTERN_ISA
