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
    Microservices = microservice, microservice architecture, service-oriented architecture ~ REST APIs`,
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
    Web accessibility = WCAG, a11y, accessible interfaces
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
    Machine learning = ML models, deep learning ~ Statistics
    Statistics = statistical modelling, statistical modeling, statistical analysis ~ Machine learning
    A/B testing = A/B tests, split testing ~ Statistics
    Data modelling = data modeling, dimensional modelling, star schemas ~ SQL`,
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
    Network security = firewalls, firewall administration
    Git = version control ~ Subversion
    Subversion = SVN ~ Git`,
  nursing: `
    Patient care = bedside care, nursing care, basic care ~ Elderly care
    Elderly care = geriatric care, geriatrics, care of older people ~ Patient care
    Intensive care = ICU, intensive care unit, critical care ~ Emergency care
    Emergency care = emergency department, emergency room, A&E ~ Intensive care
    Paediatric nursing = pediatric nursing, paediatrics, pediatrics, children's ward
    Wound care = wound management, dressing changes
    Medication administration = administering medication, administered medication, drug rounds
    Care planning = care plans, individual care plans ~ Nursing documentation
    Nursing documentation = electronic health records, EHR, patient records, Epic EHR ~ Care planning
    Infection control = hygiene standards, infection prevention
    Ventilator management = mechanical ventilation, ventilated patients ~ Intensive care
    Palliative care = hospice care, end-of-life care ~ Elderly care
    Triage = patient triage ~ Emergency care
    Phlebotomy = blood sampling, drawing blood, blood draws
    Dementia care = dementia patients ~ Elderly care
    Dialysis = haemodialysis, hemodialysis
    Surgical nursing = operating theatre, scrub nurse, perioperative care`,
  logistics: `
    Warehouse management = warehouse operations, running a warehouse ~ Inventory management
    Inventory management = stock control, inventory control, stocktaking ~ Warehouse management
    Forklift operation = forklift truck, forklift driving, reach truck
    Route planning = tour planning, transport planning ~ Dispatching
    Dispatching = dispatch of drivers, fleet dispatch ~ Route planning
    Customs clearance = customs declarations, customs procedures ~ Freight forwarding
    Freight forwarding = freight forwarder, sea freight, air freight ~ Customs clearance
    SAP EWM = SAP Extended Warehouse Management, SAP WM ~ SAP
    SAP = SAP ERP, SAP S/4HANA, SAP MM, S/4HANA ~ Microsoft Dynamics
    Microsoft Dynamics = Dynamics 365 ~ SAP
    Order picking = picking and packing, pick and pack ~ Warehouse management
    Supply chain planning = demand planning, supply planning ~ Procurement
    Procurement = purchasing, strategic sourcing ~ Supply chain planning
    Dangerous goods = hazardous goods, ADR transport
    Lean management = lean methods, 5S, kaizen ~ Six Sigma
    Fleet management = vehicle fleet ~ Dispatching
    Load securing = securing loads, cargo securing`,
  accounting: `
    Bookkeeping = double-entry bookkeeping, general ledger ~ Accounts payable, Accounts receivable
    Accounts payable = creditor accounting, supplier invoices ~ Accounts receivable, Bookkeeping
    Accounts receivable = debtor accounting, customer invoices ~ Accounts payable, Bookkeeping
    Payroll accounting = payroll, payroll processing
    Month-end closing = monthly closing, month-end close, monthly closings ~ Annual financial statements
    Annual financial statements = year-end closing, annual accounts, year-end accounts ~ Month-end closing
    IFRS = international financial reporting standards ~ US GAAP, HGB
    US GAAP = GAAP ~ IFRS
    HGB = German GAAP, German Commercial Code ~ IFRS
    DATEV ~ Sage, Lexware
    Lexware ~ DATEV
    Sage = Sage 50 ~ DATEV, QuickBooks
    QuickBooks = Xero ~ Sage
    Excel = Microsoft Excel, MS Excel, pivot tables ~ Google Sheets
    Google Sheets = spreadsheets ~ Excel
    VAT returns = VAT, value added tax, sales tax returns ~ Tax advisory
    Tax advisory = tax returns, corporate tax ~ VAT returns
    Controlling = cost accounting, management accounting, cost centre accounting ~ Budgeting
    Budgeting = budget planning, forecasting ~ Controlling
    Auditing = internal audit, external audit, statutory audits
    Treasury = cash management, liquidity planning`,
  sales: `
    B2B sales = business-to-business sales, selling to businesses ~ B2C sales, Account management
    B2C sales = retail sales, consumer sales ~ B2B sales
    Cold calling = cold outreach, cold calls ~ Lead generation
    Lead generation = prospecting, lead qualification ~ Cold calling
    Account management = key account management, key accounts ~ Customer success
    Customer success = customer onboarding, client retention ~ Account management
    Salesforce = Salesforce CRM, Sales Cloud ~ HubSpot, Microsoft Dynamics
    HubSpot = HubSpot CRM ~ Salesforce, Pipedrive
    Pipedrive ~ HubSpot
    Contract negotiation = negotiating contracts, price negotiation, negotiated contracts ~ Tender management
    Tender management = tenders, public tenders ~ Contract negotiation
    Solution selling = consultative selling, value selling ~ B2B sales
    Pipeline management = sales pipeline, sales forecasting ~ Salesforce, HubSpot
    Field sales = field service sales, territory management ~ B2B sales
    Trade fairs = trade shows, exhibitions
    Product demonstrations = product demos, software demos
    Channel sales = partner sales, reseller network ~ B2B sales`,
  mechanical: `
    SolidWorks ~ CATIA, Autodesk Inventor, Siemens NX
    CATIA = CATIA V5 ~ SolidWorks, Siemens NX
    Siemens NX = Unigraphics ~ CATIA, SolidWorks
    Autodesk Inventor = Inventor CAD ~ SolidWorks
    AutoCAD ~ Autodesk Inventor
    ANSYS = ANSYS Mechanical ~ Abaqus
    Abaqus ~ ANSYS
    Finite element analysis = FEA, FEM, finite element method ~ ANSYS, Abaqus
    CNC machining = CNC milling, CNC turning, CNC programming ~ Metalworking
    Metalworking = sheet metal, turning and milling ~ CNC machining
    Welding = MIG welding, TIG welding, MAG welding
    Technical drawings = engineering drawings, GD&T, tolerancing ~ AutoCAD
    Hydraulics = hydraulic systems ~ Pneumatics
    Pneumatics = pneumatic systems ~ Hydraulics
    PLC programming = Siemens S7, TIA Portal, SPS programming
    MATLAB = Simulink ~ Python
    Six Sigma = DMAIC ~ Lean management
    FMEA = failure mode and effects analysis ~ Quality management
    Quality management = ISO 9001, quality assurance ~ FMEA
    Preventive maintenance = machine maintenance, maintenance schedules
    Injection moulding = injection molding, plastic parts design`,
  hr: `
    Recruiting = talent acquisition, full-cycle recruiting, candidate interviews ~ Active sourcing
    Active sourcing = LinkedIn Recruiter, candidate sourcing ~ Recruiting
    Employment law = labour law, labor law
    Onboarding = onboarding programmes, new hire orientation ~ Training delivery
    Training delivery = training courses, workshops for staff ~ Onboarding
    Personio = BambooHR ~ Workday, SAP SuccessFactors
    Workday = Workday HCM ~ SAP SuccessFactors, Personio
    SAP SuccessFactors = SuccessFactors ~ Workday, Personio
    Performance reviews = appraisal interviews, performance management
    Works council relations = works council, trade unions ~ Employment law
    Employer branding = careers page ~ Recruiting
    Compensation and benefits = salary benchmarking, pay bands ~ Payroll accounting`,
  marketing: `
    SEO = search engine optimisation, search engine optimization ~ Google Ads
    Google Ads = AdWords, SEA, paid search ~ Social media advertising
    Social media advertising = Meta Ads, Facebook Ads, paid social ~ Google Ads
    Social media management = community management, social channels ~ Content marketing
    Content marketing = blog articles, content strategy ~ Copywriting
    Copywriting = ad copy, writing copy ~ Content marketing
    Google Analytics = GA4 ~ Matomo
    Matomo = Adobe Analytics ~ Google Analytics
    Email marketing = newsletters, Mailchimp, email campaigns ~ Marketing automation
    Marketing automation = Marketo, Pardot ~ Email marketing
    WordPress = TYPO3 ~ HTML
    Adobe Photoshop = Photoshop ~ Canva
    Canva ~ Adobe Photoshop
    Adobe InDesign = InDesign ~ Adobe Photoshop
    Event management = event planning, organising events
    Brand management = brand strategy ~ Content marketing`,
  kitchen: `
    Menu planning = planning menus, menu design ~ Food costing
    Food costing = recipe costing, food cost control ~ Menu planning
    HACCP = food safety, food hygiene
    Pastry = patisserie, baking, desserts
    A la carte cooking = à la carte service, a la carte, line cooking ~ Banquet catering
    Banquet catering = banqueting, large events catering ~ A la carte cooking
    Vegetarian cooking = vegan cooking, plant-based cooking
    Butchery = meat preparation, fish filleting
    Allergen management = allergen labelling ~ HACCP
    Ordering supplies = kitchen purchasing, goods receiving ~ Inventory management
    Front of house service = waiting tables, table service`,
  soft: `
    Team leadership = led a team, leading a team, leading teams, people management, team lead, managed a team ~ Mentoring
    Mentoring = mentored, mentor, coached, coaching ~ Team leadership
    Project management = managed projects, managing projects, ran projects, led the project ~ Agile methods
    Agile methods = Scrum, Kanban, agile teams, agile ways of working ~ Project management
    Stakeholder management = stakeholders, aligned departments ~ Customer contact
    Customer contact = customer-facing, dealing with customers, advised customers, advised clients ~ Stakeholder management
    Presentation skills = presented, presenting, public speaking
    Shift work = night shifts, rotating shifts, working shifts, weekend shifts, early and late shifts
    Process improvement = improved the process, continuous improvement, streamlined ~ Lean management
    Training of apprentices = trained apprentices, trained new colleagues, instructing trainees ~ Mentoring
    Budget responsibility = managed a budget, responsible for a budget, budget ownership
    Cross-functional collaboration = cross-functional teams, interdisciplinary teams, worked across departments
    Conflict resolution = resolved conflicts, de-escalation, handling complaints
    Remote work = worked remotely, distributed teams, remote teams`,
  sector: `
    Financial services = fintech, banking, banks, payments industry ~ Insurance industry
    Insurance industry = insurance companies, insurers, insurance sector ~ Financial services
    E-commerce = online retail, online shop, online shops, web shop ~ Retail industry
    Retail industry = retail chain, retail chains, supermarkets ~ E-commerce
    Healthcare sector = health care sector, hospitals, health tech, medical devices
    Automotive industry = automotive, car manufacturers, automotive suppliers ~ Aerospace industry
    Aerospace industry = aerospace, aviation ~ Automotive industry
    Public sector = public administration, government agencies, municipalities
    Energy industry = renewable energy, utilities, energy sector
    Food industry = food production, food manufacturers`,
} as const
