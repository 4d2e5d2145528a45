#include "kernelTest.h"

using namespace lantern;
using namespace lantern::test;

TEST("embedding and its backward") {
  everywhere([](Runner& r) {
    const std::vector<int> list{4, 0, 4, 2, 1, 4, 0};
    const int64_t tokens = int64_t(list.size()), vocab = 5;
    for (const DType dtype : kFloats)
      for (const DType weightDtype : kFloats)
        for (const int64_t hidden : {1, 7, 33, 200}) {
          Buffer weight = floats(vocab * hidden, weightDtype, 1), ids = ints(list), y(tokens * hidden, dtype);
          OK(r.run("embedding", EmbeddingParams{weight, ids, y, tokens, vocab, hidden, dtype, weightDtype}));
          Buffer dy = floats(tokens * hidden, dtype, 2), dweight = floats(vocab * hidden, kFloat32, 3);
          std::vector<double> wantY(size_t(tokens * hidden)), wantDw = dweight.values();
          for (int64_t i = 0; i < tokens * hidden; ++i) {
            const int64_t at = list[size_t(i / hidden)] * hidden + i % hidden;
            wantY[size_t(i)] = weight[at];
            wantDw[size_t(at)] += dy[i];
          }
          OK(r.run("embeddingBackward", EmbeddingBackwardParams{dy, ids, dweight, tokens, vocab, hidden, dtype}));
          NEAR(y, wantY, tolerance(dtype));
          NEAR(dweight, wantDw, 1e-4);
        }
  });
}

TEST("embedding: an id outside of the table is refused before anything is written") {
  everywhere([](Runner& r) {
    for (const int bad : {-1, 5, INT32_MAX, INT32_MIN}) {
      Buffer weight = floats(5 * 3, kFloat32, 1), ids = ints({0, bad}), y(2 * 3, kFloat32), dw = zeros(5 * 3, kFloat32);
      CHECK(r.run("embedding", EmbeddingParams{weight, ids, y, 2, 5, 3, kFloat32, kFloat32}).code == Code::outOfRange);
      CHECK(std::isnan(y[0]));
      CHECK(r.run("embeddingBackward", EmbeddingBackwardParams{weight, ids, dw, 2, 5, 3, kFloat32}).code == Code::outOfRange);
      NEAR(dw, std::vector<double>(15, 0.0), 0);
    }
  });
}
