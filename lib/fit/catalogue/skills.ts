/**
 * Skills by occupational field, one a line:
 *   Name = synonym, synonym ~ related skill, related skill
 * A synonym counts as the skill itself; a related skill counts as partly meeting a requirement, in that direction only.
 * Names are written as they stand in a sentence. Soft skills and industry sectors follow the same grammar.
 */
export const skillTables = {
  backend: `
    Python = Python 3, CPython ~ Ruby, Perl
    Java = Java 11, Java 17, Java 21, J2EE, Java EE, Jakarta EE ~ Kotlin, C#, Scala
    Kotlin ~ Java, Scala
    Go = Golang ~ Rust, C
    Rust ~ C++, Go
    C++ = CPP, C++11, C++17, C++20 ~ C, Rust
    C
    C# = C Sharp, CSharp ~ Java, .NET
    .NET = dotnet, .NET Core, ASP.NET, ASP.NET Core ~ C#
    Ruby ~ Python
    Perl ~ Python
    PHP = PHP 8, Laravel, Symfony ~ Python, Ruby
    Scala ~ Kotlin, Java
    Node.js = NodeJS, Node JS, Express.js, NestJS ~ JavaScript, TypeScript
    Spring Boot = Spring Framework, Spring MVC, SpringBoot ~ Java, Quarkus
    Quarkus = Micronaut ~ Spring Boot
    Django = Django REST Framework ~ FastAPI
    FastAPI = Flask ~ Django
    PostgreSQL = Postgres, PostGIS ~ MySQL, Oracle Database, SQL Server
    MySQL = MariaDB ~ PostgreSQL, SQL Server
    SQL Server = MSSQL, Microsoft SQL Server, T-SQL ~ PostgreSQL, MySQL
    Oracle Database = Oracle DB, PL/SQL ~ PostgreSQL, SQL Server
    MongoDB = Mongo ~ DynamoDB, Cassandra
    DynamoDB ~ MongoDB, Cassandra
    Cassandra = ScyllaDB ~ MongoDB, DynamoDB
    Redis = Valkey ~ Memcached
    Memcached ~ Redis
    Kafka = Apache Kafka ~ RabbitMQ
    RabbitMQ = AMQP ~ Kafka
    REST APIs = REST API, RESTful APIs, RESTful services, RESTful, REST ~ GraphQL, gRPC
    GraphQL = Apollo Server ~ REST APIs
    gRPC = Protocol Buffers, protobuf ~ REST APIs
    microservices = microservice, microservice architecture, service-oriented architecture ~ REST APIs`,
  frontend: `
    JavaScript = ECMAScript, ES6, vanilla JS ~ TypeScript
    TypeScript ~ JavaScript
    React = React.js, ReactJS, Next.js ~ Vue, Angular, Svelte
    Vue = Vue.js, VueJS, Nuxt ~ React, Angular, Svelte
    Angular = Angular 2+, AngularJS ~ React, Vue
    Svelte = SvelteKit ~ React, Vue
    HTML = HTML5 
    CSS = CSS3, Sass, SCSS ~ Tailwind CSS
    Tailwind CSS = TailwindCSS, Tailwind ~ CSS
    Redux = Redux Toolkit, Zustand ~ React
    Webpack = Vite, Rollup
    Figma ~ Adobe XD
    Adobe XD = Sketch App ~ Figma
    web accessibility = WCAG, a11y, accessible interfaces
    Cypress ~ Playwright, Selenium
    Playwright ~ Cypress, Selenium
    Selenium = Selenium WebDriver ~ Playwright, Cypress
    Jest = Vitest ~ Cypress
    React Native ~ Flutter, React
    Flutter = Dart ~ React Native
    Swift = SwiftUI ~ Kotlin`,
  data: `
    SQL = ANSI SQL, SQL queries ~ PostgreSQL, MySQL, SQL Server, Oracle Database
    R = R language, RStudio, tidyverse ~ Python, SAS
    SAS = SAS Base ~ R
    pandas = NumPy ~ Python
    PyTorch ~ TensorFlow
    TensorFlow = Keras ~ PyTorch
    scikit-learn = sklearn, XGBoost ~ PyTorch, TensorFlow
    Spark = Apache Spark, PySpark ~ Hadoop, Flink
    Hadoop = Hive, MapReduce ~ Spark
    Flink = Apache Flink ~ Spark
    Airflow = Apache Airflow ~ Dagster
    Dagster = Prefect ~ Airflow
    dbt = data build tool ~ SQL
    Snowflake ~ BigQuery, Redshift
    BigQuery = Google BigQuery ~ Snowflake, Redshift
    Redshift = Amazon Redshift ~ Snowflake, BigQuery
    Tableau ~ Power BI, Looker
    Power BI = PowerBI, DAX ~ Tableau, Looker
    Looker = Looker Studio ~ Tableau, Power BI
    machine learning = ML models, deep learning ~ statistics
    statistics = statistical modelling, statistical modeling, statistical analysis ~ machine learning
    A/B testing = A/B tests, split testing ~ statistics
    data modelling = data modeling, dimensional modelling, star schemas ~ SQL`,
  devops: `
    Kubernetes = K8s, EKS, AKS, GKE, OpenShift ~ Docker, Nomad
    Docker = Docker Compose, Podman ~ Kubernetes
    Nomad = HashiCorp Nomad ~ Kubernetes
    Terraform = OpenTofu ~ Pulumi, CloudFormation
    Pulumi ~ Terraform
    CloudFormation = AWS CDK ~ Terraform
    Ansible ~ Puppet
    Puppet ~ Ansible
    AWS = Amazon Web Services, EC2 ~ Azure, Google Cloud
    Azure = Microsoft Azure ~ AWS, Google Cloud
    Google Cloud = GCP, Google Cloud Platform ~ AWS, Azure
    Linux = Ubuntu, Debian, Red Hat, RHEL
    Bash = shell scripting, shell scripts ~ Python
    CI/CD = continuous integration, continuous delivery, continuous deployment ~ Jenkins, GitLab CI, GitHub Actions
    Jenkins ~ GitLab CI, GitHub Actions
    GitLab CI = GitLab pipelines ~ Jenkins, GitHub Actions
    GitHub Actions ~ GitLab CI, Jenkins
    Prometheus ~ Datadog
    Grafana ~ Datadog
    Datadog = New Relic ~ Prometheus, Grafana
    Helm charts = Helm ~ Kubernetes
    network security = firewalls, firewall administration
    Git = version control ~ Subversion
    Subversion = SVN ~ Git`,
  nursing: `
    patient care = bedside care, nursing care, basic care ~ elderly care
    elderly care = geriatric care, geriatrics, care of older people ~ patient care
    intensive care = ICU, intensive care unit, critical care ~ emergency care
    emergency care = emergency department, emergency room, A&E ~ intensive care
    paediatric nursing = pediatric nursing, paediatrics, pediatrics, children's ward
    wound care = wound management, dressing changes
    medication administration = administering medication, administered medication, drug rounds
    care planning = care plans, individual care plans ~ nursing documentation
    nursing documentation = electronic health records, EHR, patient records, Epic EHR ~ care planning
    infection control = hygiene standards, infection prevention
    ventilator management = mechanical ventilation, ventilated patients ~ intensive care
    palliative care = hospice care, end-of-life care ~ elderly care
    triage = patient triage ~ emergency care
    phlebotomy = blood sampling, drawing blood, blood draws
    dementia care = dementia patients ~ elderly care
    dialysis = haemodialysis, hemodialysis
    surgical nursing = operating theatre, scrub nurse, perioperative care`,
  logistics: `
    warehouse management = warehouse operations, running a warehouse ~ inventory management
    inventory management = stock control, inventory control, stocktaking ~ warehouse management
    forklift operation = forklift truck, forklift driving, reach truck
    route planning = tour planning, transport planning ~ dispatching
    dispatching = dispatch of drivers, fleet dispatch ~ route planning
    customs clearance = customs declarations, customs procedures ~ freight forwarding
    freight forwarding = freight forwarder, sea freight, air freight ~ customs clearance
    SAP EWM = SAP Extended Warehouse Management, SAP WM ~ SAP
    SAP = SAP ERP, SAP S/4HANA, SAP MM, S/4HANA ~ Microsoft Dynamics
    Microsoft Dynamics = Dynamics 365 ~ SAP
    order picking = picking and packing, pick and pack ~ warehouse management
    supply chain planning = demand planning, supply planning ~ procurement
    procurement = purchasing, strategic sourcing ~ supply chain planning
    dangerous goods = hazardous goods, ADR transport
    lean management = lean methods, 5S, kaizen ~ Six Sigma
    fleet management = vehicle fleet ~ dispatching
    load securing = securing loads, cargo securing`,
  accounting: `
    bookkeeping = double-entry bookkeeping, general ledger ~ accounts payable, accounts receivable
    accounts payable = creditor accounting, supplier invoices ~ accounts receivable, bookkeeping
    accounts receivable = debtor accounting, customer invoices ~ accounts payable, bookkeeping
    payroll accounting = payroll, payroll processing
    month-end closing = monthly closing, month-end close, monthly closings ~ annual financial statements
    annual financial statements = year-end closing, annual accounts, year-end accounts ~ month-end closing
    IFRS = international financial reporting standards ~ US GAAP, HGB
    US GAAP = GAAP ~ IFRS
    HGB = German GAAP, German Commercial Code ~ IFRS
    DATEV ~ Sage, Lexware
    Lexware ~ DATEV
    Sage = Sage 50 ~ DATEV, QuickBooks
    QuickBooks = Xero ~ Sage
    Excel = Microsoft Excel, MS Excel, pivot tables ~ Google Sheets
    Google Sheets = spreadsheets ~ Excel
    VAT returns = VAT, value added tax, sales tax returns ~ tax advisory
    tax advisory = tax returns, corporate tax ~ VAT returns
    controlling = cost accounting, management accounting, cost centre accounting ~ budgeting
    budgeting = budget planning, forecasting ~ controlling
    auditing = internal audit, external audit, statutory audits
    treasury = cash management, liquidity planning`,
  sales: `
    B2B sales = business-to-business sales, selling to businesses ~ B2C sales, account management
    B2C sales = retail sales, consumer sales ~ B2B sales
    cold calling = cold outreach, cold calls ~ lead generation
    lead generation = prospecting, lead qualification ~ cold calling
    account management = key account management, key accounts ~ customer success
    customer success = customer onboarding, client retention ~ account management
    Salesforce = Salesforce CRM, Sales Cloud ~ HubSpot, Microsoft Dynamics
    HubSpot = HubSpot CRM ~ Salesforce, Pipedrive
    Pipedrive ~ HubSpot
    contract negotiation = negotiating contracts, price negotiation, negotiated contracts ~ tender management
    tender management = tenders, public tenders ~ contract negotiation
    solution selling = consultative selling, value selling ~ B2B sales
    pipeline management = sales pipeline, sales forecasting ~ Salesforce, HubSpot
    field sales = field service sales, territory management ~ B2B sales
    trade fairs = trade shows, exhibitions
    product demonstrations = product demos, software demos
    channel sales = partner sales, reseller network ~ B2B sales`,
  mechanical: `
    SolidWorks ~ CATIA, Autodesk Inventor, Siemens NX
    CATIA = CATIA V5 ~ SolidWorks, Siemens NX
    Siemens NX = Unigraphics ~ CATIA, SolidWorks
    Autodesk Inventor = Inventor CAD ~ SolidWorks
    AutoCAD ~ Autodesk Inventor
    ANSYS = ANSYS Mechanical ~ Abaqus
    Abaqus ~ ANSYS
    finite element analysis = FEA, FEM, finite element method ~ ANSYS, Abaqus
    CNC machining = CNC milling, CNC turning, CNC programming ~ metalworking
    metalworking = sheet metal, turning and milling ~ CNC machining
    welding = MIG welding, TIG welding, MAG welding
    technical drawings = engineering drawings, GD&T, tolerancing ~ AutoCAD
    hydraulics = hydraulic systems ~ pneumatics
    pneumatics = pneumatic systems ~ hydraulics
    PLC programming = Siemens S7, TIA Portal, SPS programming
    MATLAB = Simulink ~ Python
    Six Sigma = DMAIC ~ lean management
    FMEA = failure mode and effects analysis ~ quality management
    quality management = ISO 9001, quality assurance ~ FMEA
    preventive maintenance = machine maintenance, maintenance schedules
    injection moulding = injection molding, plastic parts design`,
  hr: `
    recruiting = talent acquisition, full-cycle recruiting, candidate interviews ~ active sourcing
    active sourcing = LinkedIn Recruiter, candidate sourcing ~ recruiting
    employment law = labour law, labor law
    onboarding = onboarding programmes, new hire orientation ~ training delivery
    training delivery = training courses, workshops for staff ~ onboarding
    Personio = BambooHR ~ Workday, SAP SuccessFactors
    Workday = Workday HCM ~ SAP SuccessFactors, Personio
    SAP SuccessFactors = SuccessFactors ~ Workday, Personio
    performance reviews = appraisal interviews, performance management
    works council relations = works council, trade unions ~ employment law
    employer branding = careers page ~ recruiting
    compensation and benefits = salary benchmarking, pay bands ~ payroll accounting`,
  marketing: `
    SEO = search engine optimisation, search engine optimization ~ Google Ads
    Google Ads = AdWords, SEA, paid search ~ social media advertising
    social media advertising = Meta Ads, Facebook Ads, paid social ~ Google Ads
    social media management = community management, social channels ~ content marketing
    content marketing = blog articles, content strategy ~ copywriting
    copywriting = ad copy, writing copy ~ content marketing
    Google Analytics = GA4 ~ Matomo
    Matomo = Adobe Analytics ~ Google Analytics
    email marketing = newsletters, Mailchimp, email campaigns ~ marketing automation
    marketing automation = Marketo, Pardot ~ email marketing
    WordPress = TYPO3 ~ HTML
    Adobe Photoshop = Photoshop ~ Canva
    Canva ~ Adobe Photoshop
    Adobe InDesign = InDesign ~ Adobe Photoshop
    event management = event planning, organising events
    brand management = brand strategy ~ content marketing`,
  kitchen: `
    menu planning = planning menus, menu design ~ food costing
    food costing = recipe costing, food cost control ~ menu planning
    HACCP = food safety, food hygiene
    pastry = patisserie, baking, desserts
    a la carte cooking = à la carte service, a la carte, line cooking ~ banquet catering
    banquet catering = banqueting, large events catering ~ a la carte cooking
    vegetarian cooking = vegan cooking, plant-based cooking
    butchery = meat preparation, fish filleting
    allergen management = allergen labelling ~ HACCP
    ordering supplies = kitchen purchasing, goods receiving ~ inventory management
    front of house service = waiting tables, table service`,
  soft: `
    team leadership = led a team, leading a team, leading teams, people management, team lead, managed a team ~ mentoring
    mentoring = mentored, mentor, coached, coaching ~ team leadership
    project management = managed projects, managing projects, ran projects, led the project ~ agile methods
    agile methods = Scrum, Kanban, agile teams, agile ways of working ~ project management
    stakeholder management = stakeholders, aligned departments ~ customer contact
    customer contact = customer-facing, dealing with customers, advised customers, advised clients ~ stakeholder management
    presentation skills = presented, presenting, public speaking
    shift work = night shifts, rotating shifts, working shifts, weekend shifts, early and late shifts
    process improvement = improved the process, continuous improvement, streamlined ~ lean management
    training of apprentices = trained apprentices, trained new colleagues, instructing trainees ~ mentoring
    budget responsibility = managed a budget, responsible for a budget, budget ownership
    cross-functional collaboration = cross-functional teams, interdisciplinary teams, worked across departments
    conflict resolution = resolved conflicts, de-escalation, handling complaints
    remote work = worked remotely, distributed teams, remote teams`,
  sector: `
    financial services sector = financial services, financial sector, fintech, banking, banks, payments industry ~ insurance industry
    insurance industry = insurance companies, insurers, insurance sector ~ financial services sector
    e-commerce sector = e-commerce, ecommerce, online retail, online shop, online shops, web shop ~ retail industry
    retail industry = retail chain, retail chains, supermarkets ~ e-commerce sector
    healthcare sector = health care sector, hospitals, health tech, medical devices
    automotive industry = automotive, car manufacturers, automotive suppliers ~ aerospace industry
    aerospace industry = aerospace, aviation ~ automotive industry
    public sector = public administration, government agencies, municipalities
    energy industry = renewable energy, utilities, energy sector
    food industry = food production, food manufacturers`,
} as const
