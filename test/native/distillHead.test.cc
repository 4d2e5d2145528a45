#include "divergenceReference.h"
#include "kernelTest.h"

using namespace lantern;
using namespace lantern::test;

namespace {

struct Case {
  int64_t tokens, hiddenSize, vocab, teacherHiddenSize, teacherVocab;
};
constexpr Case kCases[] = {{1, 1, 2, 1, 2}, {5, 7, 33, 9, 33}, {19, 33, 130, 17, 120}, {37, 20, 61, 33, 70}};
constexpr double kSft = 0.7, kKd = 1.3, kTemperature = 1.5, kBeta = 0.3;

double tokenLoss(const std::vector<double>& s, const std::vector<double>& t, int64_t kdVocab, int label, int64_t kind) {
  const double ce = -logProbabilities(s, int64_t(s.size()), 1)[size_t(label)];
  if (kind == kNone) return kSft * ce;
  return kSft * ce + kKd * divergence(logProbabilities(s, kdVocab, kTemperature), logProbabilities(t, kdVocab, kTemperature), kind, kBeta);
}

// Logits of a token: its hidden state against every row of the head.
std::vector<double> logits(const Buffer& hidden, const Buffer& weight, int64_t token, int64_t size, int64_t vocab) {
  std::vector<double> l(size_t(vocab), 0.0);
  for (int64_t c = 0; c < vocab; ++c)
    for (int64_t i = 0; i < size; ++i) l[size_t(c)] += hidden[token * size + i] * weight[c * size + i];
  return l;
}

// The loss and its gradients with every logit's gradient taken by central differences.
struct Reference {
  std::vector<double> loss, dhidden, dweight;
  Reference(const Case& c, const Buffer& h, const Buffer& w, const Buffer& th, const Buffer& tw, const Buffer& labels, int64_t kind)
      : loss(size_t(c.tokens), 0.0), dhidden(size_t(c.tokens * c.hiddenSize), 0.0), dweight(size_t(c.vocab * c.hiddenSize), 0.0) {
    const int64_t kdVocab = std::min(c.vocab, c.teacherVocab);
    for (int64_t token = 0; token < c.tokens; ++token) {
      if (labels[token] < 0) continue;
      std::vector<double> s = logits(h, w, token, c.hiddenSize, c.vocab);
      const std::vector<double> t = logits(th, tw, token, c.teacherHiddenSize, c.teacherVocab);
      const auto at = [&](int64_t i, double x) {
        const double kept = std::exchange(s[size_t(i)], s[size_t(i)] + x), l = tokenLoss(s, t, kdVocab, int(labels[token]), kind);
        s[size_t(i)] = kept;
        return l;
      };
      loss[size_t(token)] = at(0, 0);
      for (int64_t i = 0; i < c.vocab; ++i) {
        const double g = (at(i, 1e-5) - at(i, -1e-5)) / 2e-5;
        for (int64_t x = 0; x < c.hiddenSize; ++x) {
          dhidden[size_t(token * c.hiddenSize + x)] += g * w[i * c.hiddenSize + x];
          dweight[size_t(i * c.hiddenSize + x)] += g * h[token * c.hiddenSize + x];
        }
      }
    }
  }
};

void check(Runner& r, const Case& c, int64_t dtype, int64_t kind) {
  Buffer h = floats(c.tokens * c.hiddenSize, dtype, 1), w = floats(c.vocab * c.hiddenSize, dtype, 2);
  Buffer th = floats(c.tokens * c.teacherHiddenSize, dtype, 3), tw = floats(c.teacherVocab * c.teacherHiddenSize, dtype, 4);
  std::vector<int> list;
  for (int64_t i = 0; i < c.tokens; ++i) list.push_back(i % 4 == 3 ? -100 : int(i * 7 % c.vocab));
  Buffer labels = ints(list), loss(1, kFloat32), parts(5, kFloat32), each(c.tokens, kFloat32);
  Buffer dhidden(c.tokens * c.hiddenSize, dtype), dweight = zeros(c.vocab * c.hiddenSize, kFloat32);
  const bool teacher = kind != kNone;
  DistillHeadParams p{h, w, teacher ? (void*)th : nullptr, teacher ? (void*)tw : nullptr, labels, loss, parts, each, dhidden, dweight,
                      c.tokens, c.hiddenSize, c.vocab, c.teacherHiddenSize, c.teacherVocab, std::min(c.vocab, c.teacherVocab), kind, -100,
                      dtype, dtype, dtype, dtype, kSft, kKd, kTemperature, kBeta, 0.25};
  OK(r.run("distillHead", p));
  const Reference want(c, h, w, th, tw, labels, kind);
  std::vector<double> wantDh = want.dhidden, wantDw = want.dweight;
  for (auto* v : {&wantDh, &wantDw})
    for (double& x : *v) x *= 0.25;
  double total = 0;
  for (const double l : want.loss) total += l;
  NEAR(each, want.loss, 1e-3);
  NEAR(loss, std::vector<double>{0.25 * total}, 1e-3);
  NEAR(dhidden, wantDh, dtype == kFloat32 ? 1e-3 : 2e-2);
  NEAR(dweight, wantDw, dtype == kFloat32 ? 1e-3 : 2e-2);
  p.dhidden = nullptr, p.dweight = nullptr, p.tokenLoss = nullptr;
  OK(r.run("distillHead", p));  // the loss alone
  NEAR(loss, std::vector<double>{0.25 * total}, 1e-3);
}

}  // namespace

TEST("distillHead: every divergence, both dtypes, vocabularies that differ") {
  everywhere([](Runner& r) {
    for (const Case& c : kCases)
      for (const DType dtype : kFloats)
        for (int64_t kind = kNone; kind <= kTotalVariation; ++kind) check(r, c, dtype, kind);
  });
}
