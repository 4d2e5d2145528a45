/** What surrounds the requirements in a post: employers, places, introductions, benefits, boilerplate, headings. */

export const employers = {
  hospital: ['St. Elisabeth Hospital', 'Riverside Hospital', 'Lakeview University Hospital', 'Northgate Hospital', 'Holm Hospital', 'Saint Clare Hospital', 'Kingsmead Hospital'],
  clinic: ['Heart Clinic Verden', 'Parkside Clinic', 'Alder Rehabilitation Clinic', 'Meridian Clinic', 'Children’s Clinic Ostwall', 'Seaview Clinic'],
  'care home': ['Linden Care Home', 'Maple House', 'Haus am Weiher', 'Rosewood Residence', 'Sunnybank Care', 'Garden Court'],
  trade: ['Falk & Sons', 'Nordhandel', 'Bright Market', 'Corvo Retail', 'Hansen Wholesale', 'Tessara Group', 'Green Aisle', 'Marlow Trading'],
  transport: ['Baltic Freight', 'Transvia Logistics', 'Kestrel Haulage', 'Portline', 'Rhine Cargo', 'Quickstep Logistics', 'Ferro Transport'],
  office: ['Sterling Advisory', 'Alma Insurance', 'Orion Bank', 'Beacon Partners', 'Vesta Energy', 'Lumen Services', 'Capstone Holding', 'Delphi Mutual'],
  plant: ['Brandt Maschinenbau', 'Aerotec Components', 'Kessler Pumps', 'Novamot', 'Titan Gears', 'Hydrofab', 'Polymer Works', 'Steelhaven'],
  tech: ['Cloudberry Labs', 'Paywise', 'Northwind Software', 'Kite Systems', 'Datavine', 'Mosaic Health', 'Ledgerly', 'Tidepool', 'Fernweh Travel Tech', 'Quantico Apps', 'Basalt Software', 'Relay Works'],
  kitchen: ['Restaurant Alte Mühle', 'Hotel Bellevue', 'Harbour Kitchen', 'The Copper Pan', 'Seehotel Aurora', 'Bistro Marlene', 'Grand Hotel Esplanade', 'Canteen Collective'],
} as const // biome-ignore format: one list a line

export const places = ['Berlin', 'Leeds', 'Rotterdam', 'Graz', 'Gdańsk', 'Lyon', 'Bremen', 'Dublin', 'Porto', 'Malmö', 'Antwerp', 'Valencia', 'Bristol', 'Leipzig', 'Toronto', 'Brno', 'Zürich', 'Aarhus', 'Turin', 'Tampere'] // biome-ignore format: a list

/** `{company}`, `{title}`, `{place}`, `{area}`, `{size}` and `{age}` are filled in. */
export const introductions = [
  '{company} has been at home in {place} for {age} years. About {size} people work here, and most of them stay for a long time. To strengthen our team we are looking for a {title} who wants to take on responsibility from the first month.',
  'For our site in {place} we are hiring a {title}. You will join a team that knows its craft, talks openly and does not take itself too seriously.',
  'Do you want your work in {area} to be noticed? At {company} you will work side by side with {size} colleagues in {place} on things that our customers use every day.',
  'We are growing, and so is the work. That is why {company} is creating a new position: {title}, based in {place}, starting as soon as we find the right person.',
  'What began {age} years ago with four people in a rented room is now a company of {size}. We kept the short paths. As our new {title} in {place} you will have a say in how things are done.',
  'Our {area} team in {place} is looking for support. The person who held this role has moved on to lead another department, so you will be introduced thoroughly and in peace.',
] // biome-ignore format: one paragraph a line

export const aboutParagraphs = [
  '{company} is owned by a foundation and thinks in decades rather than in quarters. We invest what we earn in equipment, training and people. Around {size} colleagues from more than twenty countries work with us, most of them in {place}.',
  'We believe that good work needs time, clear agreements and decent tools. Our hierarchies are flat, our doors are open, and mistakes are discussed in order to learn from them. {company} was named one of the best employers of the region twice.',
  '{company} serves customers in eleven countries. We are large enough to run interesting projects and small enough to know each other by name. Sustainability is no slogan for us: since last year all our sites have run on renewable power.',
  'Founded {age} years ago, {company} is today one of the established names in its market. Our {size} employees value reliable planning, friendly manners and the freedom to try out new ideas. Many of our managers started here as trainees.',
  'At {company} we put people first, and we mean both those we work for and those we work with. Teams decide a great deal on their own. Once a month we sit down together, look at what went well and choose one thing to improve.',
] // biome-ignore format: one paragraph a line

export const equalityParagraphs = [
  'We welcome applications from all people regardless of gender, origin, religion, age, disability or sexual identity. Applicants with a severe disability are given preference where they are equally suited.',
  '{company} is an equal opportunity employer. Decisions are made on the basis of qualification and the needs of the business. If you need any adjustment during the hiring process, please let us know.',
  'Diverse teams make better decisions. Please leave out your photo, your age and your marital status; we do not need them to get to know you.',
  'You do not tick every box? Apply anyway. Nobody meets every point of such a list, and we would rather hear from you than miss you.',
]

export const applyParagraphs = [
  'Send us your documents in one file together with your earliest starting date. You will hear from us within ten days. After a first call of thirty minutes we will invite you to spend half a day with the team.',
  'Interested? Then apply online in five minutes. A cover letter is welcome but not necessary. If you have questions, simply call our personnel department before you apply.',
  'We look forward to your application by e-mail. Please mention where you found this post. The process consists of a telephone call, a visit in {place} and an offer, usually within three weeks.',
  'Use the button below to apply. Your contact throughout the process will be the head of the department, not a machine. We answer every application, including those we have to turn down.',
] // biome-ignore format: one paragraph a line

/** Further paragraphs under their own headings; how many a post gets decides how long it becomes. */
export const extraSections: readonly { readonly headings: readonly string[]; readonly paragraphs: readonly string[] }[] = [
  {
    headings: ['The team', 'Our team', 'Your future colleagues'],
    paragraphs: [
      'You will work with eight colleagues aged 24 to 61. Some have been here for decades, others joined last spring. Every morning at nine there is a quarter of an hour in which everybody says what they are working on and where they need help. Lunch is eaten together more often than not, and nobody is expected to answer messages in the evening.',
      'The team consists of five specialists, a trainee and a team leader who still takes on daily work herself. You will report to her. Holidays are planned together in January so that everyone gets the weeks that matter most to them. When something goes wrong, the first question is how to fix it and not who did it.',
      'Eleven people in two groups share the work in our department. The groups swap roles twice a year so that knowledge does not depend on single persons. You will have a partner who knows your tasks and stands in for you, and you will do the same in return.',
      'We are a small team with a lot of influence on how the company develops. That means short decisions, varied days and, admittedly, now and then a hectic week before a deadline. We make up for it with quiet weeks afterwards and with a manager who keeps count of overtime.',
    ],
  },
  {
    headings: ['Your first months', 'How you will start', 'Settling in'],
    paragraphs: [
      'In the first two weeks you will visit every department and meet the people you will later deal with. After that you take over a limited set of tasks together with an experienced colleague. We talk about how it is going after one month, after three and after five, and we adjust the plan where necessary.',
      'A written plan for the first hundred days is ready before you arrive. It says what you will learn, from whom, and by when you should be able to work on your own. Nobody has to prove anything in week one; what we do expect is that you ask when something is unclear.',
      'You start on the first day of a month together with all other new colleagues. Equipment, access and a desk are prepared. After an introduction to safety and data protection you spend the rest of the week with your team, and by the end of the second month you should know our processes well enough to suggest improvements.',
    ],
  },
  {
    headings: ['How we work', 'Our culture', 'What matters to us'],
    paragraphs: [
      'Agreements count here. If we promise a date, we keep it, and if we cannot, we say so early. We write down decisions so that they can be looked up, and we keep meetings to those who need to be in them. New ideas are tried on a small scale first; if they work, they stay.',
      'We do not measure presence, we look at results. Whoever starts early may leave early, and whoever has to pick up a child does so without explaining. In return we ask for reliability, care and a friendly word even on days when three things happen at once.',
      'Quality comes before speed, which is easily said and sometimes hard to keep up. That is why every piece of work is looked at by a second person, and why we plan a fifth of our time for maintenance, learning and tidying up. Our customers notice it, and so do our colleagues.',
    ],
  },
  {
    headings: ['Good to know', 'Working time and pay', 'Conditions'],
    paragraphs: [
      'The position is full time with 38 hours a week; part time from 30 hours is possible. Pay follows our internal bands, which you will learn in the first conversation. There is a probation period of six months, after which the notice period is three months for both sides. Travel is rare and planned well ahead.',
      'The contract is permanent. Start and end of the working day are agreed in the team, with core hours from ten to three. Overtime is recorded and compensated with time off. If you have to move for the job, we will help with the search for a flat and cover the removal.',
    ],
  },
] // biome-ignore format: one paragraph a line

export const benefitLines = [
  '30 days of paid holiday, plus 24 and 31 December',
  'A permanent contract from the first day',
  'Flexible working hours with a working time account',
  'Two days a week from home where the work allows it',
  'Company pension with an employer contribution of 20 percent',
  'An allowance for public transport or a leased bicycle',
  'Fresh fruit, good coffee and a subsidised canteen',
  'Free parking directly in front of the building',
  'A training budget of 1,500 euros a year',
  'A mentor who accompanies you during the first six months',
  'Modern workplaces with height-adjustable desks',
  'Discounts in more than 200 shops and gyms',
  'Childcare support during school holidays',
  'Paid volunteer days, three each year',
  'A thirteenth salary and a yearly bonus',
  'Regular team events, from bowling to hiking',
  'Health days, free vaccinations and a company doctor',
  'Work clothes provided and washed for you',
  'Salaries published internally, in bands',
  'The option of a four-day week after the first year',
  'Relocation support for you and your family',
  'An open feedback culture with yearly talks about your goals',
]

/** Spellings of the headings of a post; one style is used throughout a post. */
export const postHeadings = {
  responsibilities: ['Responsibilities', 'What you will do', 'Your tasks', 'Your role', 'Key responsibilities', "What you'll do", 'Your responsibilities', 'Tasks'],
  must: ['Requirements', 'What you bring', 'Must have', 'Your profile', 'What we are looking for', 'Qualifications', 'Who you are', 'What you need', 'Minimum qualifications', 'Your skills'],
  nice: ['Nice to have', 'Bonus points', 'Preferred qualifications', 'A plus', "It's nice to have", 'Desirable', 'Even better if', 'Good to have', 'Pluses'],
  benefits: ['Benefits', 'We offer', 'What we offer', 'What you get', 'Our offer', "What's in it for you", 'Why join us', 'Perks and benefits'],
  about: ['About us', 'Who we are', 'Our company', 'The company'],
  apply: ['How to apply', 'Application', 'Interested?', 'Next steps', 'Apply now'],
} as const // biome-ignore format: one list a line

/** How posts ask for a skill: `{n}` years in digits, `{w}` in words, `{s}` the skill. */
export const skillYearsPhrases = [
  '{n}+ years of experience with {s}',
  'At least {w} years of {s}',
  'Minimum {n} years of hands-on experience with {s}',
  '{n} or more years of {s}',
  '{s}: {n}+ years',
  'You have used {s} at work for at least {n} years',
  '{w} years or more of professional experience with {s}',
]
export const skillPhrases = [
  'Solid knowledge of {s}',
  'Hands-on experience with {s}',
  'You are confident in {s}',
  '{s}',
  'Working knowledge of {s}',
  'Practical experience with {s}',
  'You know {s} from your daily work',
  'Good command of {s}',
  'Proficiency in {s}',
]
export const niceSkillPhrases = ['Exposure to {s}', 'Experience with {s}', '{s}', 'First experience with {s}', 'You have already worked with {s}', 'Knowledge of {s} is a plus'] // biome-ignore format: a list
export const softPhrases = ['Experience in {s}', '{s}', 'You have practice in {s}', 'Proven experience in {s}']
export const sectorPhrases = ['Experience in the {s}', 'You have worked in the {s} before', 'Familiarity with the {s}']
export const degreePhrases = [
  '{d} in {f} or a related field',
  '{d} in {f}',
  'A completed {d} in {f} or similar',
  'You hold a {d} in {f}, or something comparable',
]
export const languagePhrases = [
  '{l} at level {v} or above',
  'Good command of {l} ({v})',
  '{l} ({v}), spoken and written',
  'Language skills: {l}, at least {v}',
]
export const fluentPhrases = [
  'Fluent {l}',
  'Fluent in {l}, both spoken and written',
  'Business-fluent {l}',
  'Excellent {l}',
]
export const certificatePhrases = [
  '{c}',
  'You hold the following certificate: {c}',
  'Valid {c}',
  '{c} (please attach a copy)',
]
export const totalPhrases = [
  '{n}+ years of professional experience',
  'At least {w} years of work experience',
  'A minimum of {n} years in working life',
]
export const areaPhrases = [
  '{n}+ years of experience in {a}',
  'At least {w} years in {a}',
  'You look back on {n} or more years in {a}',
  'Minimum {n} years of professional experience in {a}',
]

/** Lines of a profile that show a soft skill, by its catalogue name; each is found again by the skill's synonyms. */
export const softFeats: Record<string, readonly string[]> = {
  'team leadership': ['Led a team of six people', 'Managed a team of nine', 'Led a team across two sites'],
  mentoring: ['Mentored four junior colleagues', 'Coached new team members in their first year'],
  'project management': ['Managed projects worth up to 400,000 euros', 'Led the project from kick-off to hand-over'],
  'agile methods': ['Worked in agile teams with two-week cycles', 'Introduced Kanban in the department'],
  'stakeholder management': ['Aligned departments on shared priorities', 'Reported to stakeholders every month'],
  'customer contact': ['Advised customers by telephone and on site', 'Advised clients in difficult situations'],
  'presentation skills': ['Presented results to the board', 'Presented new services at public events'],
  'shift work': ['Worked night shifts and weekend shifts', 'Worked in rotating shifts'],
  'process improvement': ['Streamlined the approval of orders', 'Drove continuous improvement in the department'],
  'training of apprentices': ['Trained apprentices in their second year', 'Trained new colleagues on all stations'],
  'budget responsibility': ['Responsible for a budget of 1.2 million euros', 'Managed a budget for three sites'],
  'cross-functional collaboration': ['Worked across departments on new offers', 'Took part in cross-functional teams'],
  'conflict resolution': ['Resolved conflicts between teams', 'Took over handling complaints for the region'],
  'remote work': ['Worked remotely with colleagues in four countries', 'Worked in distributed teams'],
}

export const sectorFeats: Record<string, readonly string[]> = {
  'financial services sector': ['Delivered projects for banks', 'Worked for customers in fintech'],
  'insurance industry': ['Looked after insurers as customers', 'Delivered projects for insurance companies'],
  'e-commerce sector': ['Supported the growth of two online shops', 'Worked for online retail throughout the season'],
  'retail industry': ['Worked for retail chains with 80 branches', 'Supported supermarkets during the holidays'],
  'healthcare sector': ['Worked together with hospitals', 'Delivered projects for hospitals'],
  'automotive industry': ['Worked with automotive suppliers', 'Served car manufacturers as customers'],
  'aerospace industry': ['Worked on orders for aviation', 'Supplied parts to aerospace customers'],
  'public sector': ['Worked for municipalities and schools', 'Delivered projects for government agencies'],
  'energy industry': ['Worked for utilities in the north', 'Took part in renewable energy projects'],
  'food industry': ['Worked for food manufacturers', 'Gained insight into food production'],
}

/** Lines of a profile that show a skill at work. */
export const skillFeats = [
  'Daily work with {s}',
  'Responsible for everything around {s}',
  'Used {s} in most assignments',
  'Introduced {s} and trained others in it',
  'Contact person for {s}',
  'Gained deep practice in {s} and {t}',
  'Combined {s} with {t}',
]
export const summaries = [
  '{title} with {years} of experience, most recently at {company}. Reliable, curious and calm when it gets busy.',
  'I have worked in {area} for a good part of my life and still enjoy learning something new every week.',
  'Hands-on {title} who likes clear goals, honest feedback and colleagues who help each other.',
  'Looking for a place where I can bring in what I have learned in {years} of work and take on more responsibility.',
  '',
]
