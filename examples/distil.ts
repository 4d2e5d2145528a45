/**
 * Distils a student from a teacher with a fused divergence: ops, tape and optimiser, no trainer.
 *
 *     node build/examples/distil.js assets/teacher assets/student 40
 */
import { fileURLToPath } from 'node:url'
import {
  Device,
  distillHead,
  explanationSample,
  generatePairs,
  loadDecoder,
  Optimiser,
  pack,
  Tape,
  Tokenizer,
  weightOf,
} from 'lantern-node'

/** Distils on generated pairs, four a step. Resolves to the mean cross entropy and divergence of every step, nats a token. */
export async function distil(device: Device, teacherFolder: string, studentFolder: string, steps: number) {
  using teacher = await loadDecoder(device, teacherFolder)
  using student = await loadDecoder(device, studentFolder, { trainable: true })
  const tokenizer = await Tokenizer.fromFolder(studentFolder)
  const optimiser = new Optimiser(student.parameters)
  const pairs = [...generatePairs({ seed: 1, count: 4 * steps })]
  const losses: { ce: number; kd: number }[] = []
  for (let i = 0; i < steps; i++) {
    using _scope = device.scope()
    const four = pairs.slice(4 * i, 4 * i + 4)
    const samples = four.map((pair) => explanationSample(tokenizer, pair.prompt, pair.explanation))
    const batch = pack(device, samples.map((s) => s.ids)) // biome-ignore format: a line a step
    const labels = device.tensor(Int32Array.from(samples.flatMap((s) => [...s.labels])))
    const valid = samples.reduce((n, s) => n + weightOf(s), 0)
    const hidden = teacher.forward(batch) // before the tape opens: nothing of the teacher is recorded
    using tape = new Tape(device)
    const { loss, parts } = distillHead({
      hidden: student.forward(batch),
      weight: student.headWeight,
      teacher: { hidden, weight: teacher.headWeight },
      labels,
      divergence: 'jensenShannon',
      scale: 1 / valid,
    })
    tape.backward(loss)
    optimiser.step(1e-3, 1).dispose()
    const [ce, kd] = await parts.floats()
    losses.push({ ce: ce! / valid, kd: kd! / valid })
  }
  optimiser.dispose()
  return losses
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , teacher = 'assets/teacher', student = 'assets/student', steps = '20'] = process.argv
  console.table(await distil(Device.open(), teacher, student, Number(steps)))
}
