/** Names, degrees, languages and certificates: what profiles are made of, and what requirements ask for. */

/** Academic degrees from low to high; the rank is the position, synonyms are matched case-insensitively. */
export const degreeLevels = [
  { name: 'Vocational training', match: /\b(?:vocational (?:training|qualification|degree)|apprenticeship)\b/i },
  { name: "Associate's degree", match: /\b(?:associate['’]?s? degree|associate of (?:arts|science))\b/i },
  {
    name: "Bachelor's degree",
    match:
      /\b(?:bachelor(?:['’]?s)?(?: degree)?(?: of (?:science|arts|engineering|commerce))?|undergraduate degree|B\.?Sc\.?|B\.A\.|B\.?Eng\.?|BS)(?![\w'’])/i,
  },
  {
    name: "Master's degree",
    match:
      /(?<!scrum )(?<!web)\b(?:master['’]s(?: degree)?|masters degree|masters? of (?:science|arts|engineering|business administration)|masters? degree|masters? (?=in )|master$|M\.?Sc\.?|M\.A\.|M\.?Eng\.?|MBA)(?![\w'’])/i,
  },
  { name: 'Doctorate', match: /\b(?:doctorate|doctoral degree|doctor of philosophy|ph\.?\s?d\.?)(?![\w'’])/i },
] as const

/** Names of degree subjects that count as the same field of study. */
export const degreeGroups: readonly (readonly string[])[] = [
  [
    'Computer Science',
    'Software Engineering',
    'Information Technology',
    'Media Informatics',
    'Computer Engineering',
    'Informatics',
    'Information Systems',
    'Computing',
  ],
  ['Data Science', 'Mathematics', 'Statistics', 'Computer Science', 'Physics', 'Applied Mathematics'],
  ['Nursing', 'Health Sciences', 'Nursing Management', 'Medicine', 'Midwifery'],
  ['Logistics', 'Supply Chain Management', 'Transport Management', 'Industrial Engineering'],
  ['Accounting', 'Finance', 'Business Administration', 'Economics', 'Business', 'Management'],
  ['Marketing', 'Communication Science', 'Media Studies', 'Business Administration', 'Journalism', 'Communications'],
  ['Human Resource Management', 'Psychology', 'Business Administration', 'Sociology'],
  [
    'Mechanical Engineering',
    'Production Engineering',
    'Mechatronics',
    'Industrial Engineering',
    'Aerospace Engineering',
  ],
  ['Electrical Engineering', 'Computer Engineering', 'Electronics', 'Mechatronics'],
  ['Culinary Arts', 'Hotel Management', 'Food Technology', 'Hospitality'],
  ['History', 'Philosophy', 'Literature'],
  ['Biology', 'Chemistry', 'Biochemistry'],
]

/** Subjects of people who studied something else. */
export const otherSubjects = [
  'History',
  'Philosophy',
  'Literature',
  'Biology',
  'Chemistry',
  'Sociology',
  'Physics',
  'Journalism',
]

export const spokenLanguages = [
  'English',
  'German',
  'French',
  'Spanish',
  'Italian',
  'Portuguese',
  'Dutch',
  'Polish',
  'Czech',
  'Swedish',
  'Danish',
  'Norwegian',
  'Finnish',
  'Turkish',
  'Arabic',
  'Russian',
  'Ukrainian',
  'Romanian',
  'Hungarian',
  'Greek',
  'Hindi',
  'Mandarin',
  'Chinese',
  'Japanese',
  'Korean',
  'Vietnamese',
  'Hebrew',
  'Urdu',
  'Croatian',
  'Bulgarian',
] as const

/** CEFR levels from low to high; `native` stands above C2. */
export const languageLevels = ['A1', 'A2', 'B1', 'B2', 'C1', 'C2', 'native'] as const

/** Words for levels, first match counts. Source of the mapping: the CEFR global scale's own descriptors. */
export const languageWords: readonly { readonly level: (typeof languageLevels)[number]; readonly match: RegExp }[] = [
  { level: 'native', match: /\b(?:native|mother tongue|first language|bilingual)\b/i },
  { level: 'C2', match: /\b(?:near-native|proficiency level|full professional)\b/i },
  {
    level: 'C1',
    match: /\b(?:fluent|fluently|business[- ]fluent|excellent|very good|advanced|proficient|professional working)\b/i,
  },
  { level: 'B2', match: /\b(?:upper[- ]intermediate|good|confident|working proficiency|professional)\b/i },
  { level: 'B1', match: /\b(?:intermediate|conversational|solid|limited working)\b/i },
  { level: 'A2', match: /\b(?:basic|elementary|some)\b/i },
  { level: 'A1', match: /\b(?:beginner)\b/i },
]

/** Certificates: `Name = synonym ~ related`, as in the skill tables. */
export const certificateTable = `
  Registered Nurse licence = registered nurse license, nursing licence, nursing license, licensed registered nurse
  Advanced Life Support = ACLS, ALS certificate ~ Basic Life Support
  Basic Life Support = BLS, first aid certificate
  Practice Instructor = practice supervisor qualification ~ Trainer aptitude certificate
  Wound Expert ICW = wound expert
  Forklift licence = forklift license, forklift certificate, forklift driving licence
  ADR certificate = ADR licence, dangerous goods certificate
  APICS CPIM = CPIM ~ APICS CSCP
  APICS CSCP = CSCP ~ APICS CPIM
  Truck driving licence CE = truck licence, class CE licence, truck driving licence, CDL ~ Driving licence B
  Certified Public Accountant = CPA ~ ACCA, Certified Management Accountant, Chartered Accountant
  ACCA = ACCA qualification ~ Certified Public Accountant, Chartered Accountant
  Certified Management Accountant = CMA ~ Certified Public Accountant
  Chartered Accountant = ACA qualification ~ ACCA, Certified Public Accountant
  Salesforce Administrator = Salesforce Certified Administrator, Salesforce Admin
  Driving licence B = driving licence, driver's license, driver's licence, class B licence, driving license
  Certified Sales Professional = CPSP ~ SPIN Selling
  SPIN Selling = SPIN selling certificate ~ Certified Sales Professional
  Six Sigma Green Belt = Green Belt ~ Six Sigma Yellow Belt
  Six Sigma Yellow Belt = Yellow Belt ~ Six Sigma Green Belt
  Certified SolidWorks Professional = CSWP ~ Certified SolidWorks Associate
  Certified SolidWorks Associate = CSWA ~ Certified SolidWorks Professional
  Welding certificate = welder qualification, ISO 9606
  REFA certificate = REFA
  SHRM-CP = SHRM Certified Professional ~ CIPD Level 5
  CIPD Level 5 = CIPD ~ SHRM-CP
  Trainer aptitude certificate = AEVO, trainer aptitude ~ Practice Instructor
  Google Ads certification = Google Ads certified ~ Google Analytics certification
  HubSpot Inbound certification = HubSpot Inbound ~ Google Analytics certification
  Google Analytics certification = Google Analytics certified ~ Google Ads certification
  ServSafe Manager = ServSafe ~ Food hygiene certificate
  Food hygiene certificate = food handler certificate ~ ServSafe Manager
  Master chef diploma = master chef
  Oracle Certified Professional = OCP Java, Oracle Certified Java Programmer
  AWS Certified Developer = AWS Developer Associate ~ AWS Certified Solutions Architect
  AWS Certified Solutions Architect = AWS Solutions Architect ~ AWS Certified Developer, Azure Administrator Associate
  Professional Scrum Master = Certified Scrum Master, Certified ScrumMaster, PSM I, CSM ~ PMP
  ISTQB Foundation = ISTQB, ISTQB Certified Tester
  Certified Web Accessibility Specialist = WAS certification
  Google Professional Data Engineer = GCP Data Engineer certification ~ Databricks Data Engineer
  Tableau Desktop Specialist = Tableau certified
  Databricks Data Engineer = Databricks certified ~ Google Professional Data Engineer
  Certified Kubernetes Administrator = CKA, CKAD
  Azure Administrator Associate = AZ-104 ~ AWS Certified Solutions Architect
  HashiCorp Terraform Associate = Terraform Associate
  ITIL Foundation = ITIL, ITIL 4
  PMP = Project Management Professional ~ PRINCE2
  PRINCE2 = PRINCE2 Practitioner ~ PMP
  CISSP = Certified Information Systems Security Professional
  CCNA = Cisco Certified Network Associate`

export const firstNames = [
  'Amina', 'Jonas', 'Priya', 'Mateusz', 'Lucía', 'Oluwaseun', 'Hannah', 'Kenji', 'Fatima', 'Liam', 'Sofia', 'Noah', 'Mei',
  'Tomás', 'Ingrid', 'Yusuf', 'Chloe', 'Andrei', 'Nadia', 'Emil', 'Grace', 'Rafael', 'Leila', 'Viktor', 'Aisha', 'Daniel',
  'Katarzyna', 'Marco', 'Thandiwe', 'Elias', 'Camille', 'Arjun', 'Zofia', 'Samuel', 'Minh', 'Olga', 'Peter', 'Ruth', 'Hugo',
  'Selin', 'Mark', 'Anneke', 'Diego', 'Ivana', 'Paul', 'Salma', 'Erik', 'Joy',
] // biome-ignore format: one name a line would hide the list
export const lastNames = [
  'Okafor',
  'Weber',
  'Sharma',
  'Kowalski',
  'Fernández',
  'Adeyemi',
  'Lindqvist',
  'Tanaka',
  'Haddad',
  'Murphy',
  'Rossi',
  'Becker',
  'Chen',
  'Silva',
  'Johansen',
  'Demir',
  'Dubois',
  'Popescu',
  'Petrova',
  'Schneider',
  'Mensah',
  'Costa',
  'Karimi',
  'Novak',
  'Khan',
  'Fischer',
  'Nowak',
  'Bianchi',
  'Dlamini',
  'Keller',
  'Laurent',
  'Patel',
  'Zieliński',
  'Carter',
  'Nguyen',
  'Ivanova',
  'Hughes',
  'Baker',
  'Moreau',
  'Yılmaz',
  'Jensen',
  'de Vries',
  'Morales',
  'Horvat',
  'Wagner',
  'Farouk',
  'Nilsen',
  'Walker',
]
export const schools = [
  'University of Leeds',
  'Technical University of Graz',
  'University of Porto',
  'Lund University',
  'University of Warsaw',
  'University of Applied Sciences Bremen',
  'University of Lagos',
  'University of Toronto',
  'Ghent University',
  'University of Valencia',
  'Charles University',
  'University of Pune',
  'Open University',
  'University of Galway',
  'University of Applied Sciences Lucerne',
  'Bosphorus University',
  'University of Ohio',
  'University of Auckland',
]
