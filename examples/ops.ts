/**
 * The divergences between two rows of logits, and their gradients: the ops by themselves, no model.
 *
 *     node build/examples/ops.js
 */
import { fileURLToPath } from 'node:url'
import { Device, DIVERGENCES, type DivergenceKind, divergence, Tape } from 'lantern-node'

/** Value of a divergence, in nats, and its gradient with respect to the student's logits. */
export async function divergenceOf(device: Device, kind: DivergenceKind, student: number[], teacher: number[]) {
  using _scope = device.scope()
  const s = device.tensor(student, [1, student.length])
  s.requiresGrad = true
  using tape = new Tape(device)
  const value = divergence(s, device.tensor(teacher, [1, teacher.length]), kind, { beta: 0.1 })
  tape.backward(value)
  using grad = s.grad!
  return { value: await value.item(), gradient: [...(await grad.floats())] }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const device = Device.open()
  for (const kind of DIVERGENCES) {
    const { value, gradient } = await divergenceOf(device, kind, [0.5, -1, 2, 0], [3, 0, -2, 1])
    console.log(kind.padEnd(16), value.toFixed(6), `[${gradient.map((g) => g.toFixed(6)).join(', ')}]`)
  }
  await device.close()
}
