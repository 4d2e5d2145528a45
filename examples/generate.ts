/**
 * Several prompts answered together, each printed as it comes: the engine batches them by itself.
 *
 *     node build/examples/generate.js runs/teacher/model "Which skills does a nurse need?" "What does a welder do?"
 */
import { fileURLToPath } from 'node:url'
import { Device, Engine, encodeChat, loadDecoder, Tokenizer } from 'lantern-node'

/** Answers chat messages, greedily, at most `maxTokens` tokens each. `onText` gets the pieces of all answers as they come. */
export async function answer(
  device: Device,
  folder: string,
  questions: readonly string[],
  { maxTokens = 100, onText = (_index: number, _piece: string) => {}, signal = new AbortController().signal } = {},
): Promise<string[]> {
  const tokenizer = await Tokenizer.fromFolder(folder)
  using model = await loadDecoder(device, folder)
  using engine = new Engine(model, { vocabularyLimit: tokenizer.vocabSize })
  const one = async (content: string, index: number) => {
    const ids = encodeChat(tokenizer, [{ role: 'user', content }], { addGenerationPrompt: true })
    const decoder = tokenizer.streamDecoder({ skipSpecialTokens: true })
    let text = ''
    const emit = (piece: string) => {
      text += piece
      onText(index, piece)
    }
    for await (const { id } of engine.generate(ids, { maxTokens, signal })) emit(decoder.push(id))
    emit(decoder.flush())
    return text
  }
  return await Promise.all(questions.map(one)) // not without await: model and engine are disposed of on return
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , folder = 'assets/teacher', ...questions] = process.argv
  const device = Device.open()
  const signal = AbortSignal.timeout(60_000)
  const answers = await answer(device, folder, questions, { signal })
  for (const [i, question] of questions.entries()) console.log(`${question}\n${answers[i]}\n`)
  await device.close()
}
