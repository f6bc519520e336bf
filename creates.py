"""The warehouse's tables: one CREATE TABLE per ETL, in the dialect that config.py names.

The load assigns surrogate keys; AUTO_INCREMENT, as on site_dim, is for rows that somebody adds by
hand.
"""

PRODUCT_DIM = """
    CREATE TABLE product_dim (
      id INT(11) NOT NULL,
      product_id INT(11) NOT NULL,
      title VARCHAR(150),
      kind VARCHAR(20),
      subject VARCHAR(60),
      is_free TINYINT(1),
      uploaded_on DATE,
      is_inferred TINYINT(1) NOT NULL,
      is_deleted TINYINT(1) NOT NULL,
      PRIMARY KEY (id),
      KEY by_product (product_id)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""

USER_DIM = """
    CREATE TABLE user_dim (
      id INT(11) NOT NULL,
      user_id INT(11) NOT NULL,
      username VARCHAR(40),
      full_name VARCHAR(81),
      email VARCHAR(100),
      cohort CHAR(7),
      graduation_year SMALLINT,
      school_name VARCHAR(100),
      school_state CHAR(2),
      is_inferred TINYINT(1) NOT NULL,
      valid_from DATE NOT NULL,
      valid_to DATE,
      version INT(11) NOT NULL,
      PRIMARY KEY (id),
      KEY by_user (user_id)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""

COURSE_DIM = """
    CREATE TABLE course_dim (
      id INT(11) NOT NULL,
      course_id INT(11) NOT NULL,
      title VARCHAR(150) NOT NULL,
      `number` INT(11) NOT NULL,
      subject VARCHAR(60) NOT NULL,
      school_name VARCHAR(100) NOT NULL,
      PRIMARY KEY (id),
      KEY by_course (course_id)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""

DATE_DIM = """
    CREATE TABLE date_dim (
      id INT(11) NOT NULL,
      full_date DATE NOT NULL,
      `year` SMALLINT NOT NULL,
      quarter TINYINT NOT NULL,
      `month` TINYINT NOT NULL,
      month_name VARCHAR(9) NOT NULL,
      `day` TINYINT NOT NULL,
      weekday VARCHAR(9) NOT NULL,
      iso_week TINYINT NOT NULL,
      is_weekend TINYINT(1) NOT NULL,
      PRIMARY KEY (id),
      UNIQUE KEY by_date (full_date)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""

SCHOOL_DIM = """
    CREATE TABLE school_dim (
      id INT(11) NOT NULL,
      school_id INT(11) NOT NULL,
      name VARCHAR(100) NOT NULL,
      city VARCHAR(60) NOT NULL,
      state CHAR(2),
      country CHAR(2) NOT NULL,
      PRIMARY KEY (id),
      KEY by_school (school_id)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""

PAYMENT_SOURCE_DIM = """
    CREATE TABLE payment_source_dim (
      id INT(11) NOT NULL PRIMARY KEY,
      payment_source_id INT(11) NOT NULL,
      name VARCHAR(40) NOT NULL
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""

DISABILITY_PROGRAM_DIM = """
    CREATE TABLE disability_program_dim (
      id INT(11) NOT NULL PRIMARY KEY,
      disability_program_id INT(11) NOT NULL,
      name VARCHAR(80) NOT NULL,
      school_name VARCHAR(100) NOT NULL,
      active TINYINT(1) NOT NULL
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""

AFFILIATE_DIM = """
    CREATE TABLE affiliate_dim (
      id INT(11) NOT NULL PRIMARY KEY,
      affiliate_id INT(11) NOT NULL,
      name VARCHAR(60) NOT NULL,
      commission DECIMAL(5,4) NOT NULL
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""

SITE_DIM = """
    CREATE TABLE site_dim (
      id INT(11) NOT NULL AUTO_INCREMENT PRIMARY KEY,
      site_id INT(11) NOT NULL,
      name VARCHAR(40) NOT NULL,
      domain VARCHAR(60) NOT NULL
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""

PRODUCT_SALE_FACT = """
    CREATE TABLE product_sale_fact (
      order_id INT(11) NOT NULL,
      line_number INT(11) NOT NULL,
      product_fk INT(11) NOT NULL,
      course_fk INT(11),
      school_fk INT(11),
      seller_fk INT(11) NOT NULL,
      buyer_fk INT(11),
      payment_source_fk INT(11) NOT NULL,
      affiliate_fk INT(11),
      site_fk INT(11) NOT NULL,
      date_fk INT(11) NOT NULL,
      local_date_fk INT(11) NOT NULL,
      sale_datetime DATETIME NOT NULL,
      quantity INT(11) NOT NULL,
      gross_amount DECIMAL(10,2) NOT NULL,
      discount_amount DECIMAL(10,2) NOT NULL,
      net_amount DECIMAL(10,2) NOT NULL,
      PRIMARY KEY (order_id, line_number),
      KEY by_product (product_fk),
      KEY by_date (date_fk)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""

PRODUCT_UPLOAD_FACT = """
    CREATE TABLE product_upload_fact (
      product_fk INT(11) NOT NULL,
      seller_fk INT(11) NOT NULL,
      course_fk INT(11),
      school_fk INT(11),
      date_fk INT(11) NOT NULL,
      local_date_fk INT(11) NOT NULL,
      list_price DECIMAL(10,2) NOT NULL,
      PRIMARY KEY (product_fk),
      KEY by_date (date_fk)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""

ORDER_FULFILLMENT_FACT = """
    CREATE TABLE order_fulfillment_fact (
      order_id INT(11) NOT NULL PRIMARY KEY,
      buyer_fk INT(11),
      ordered_date_fk INT(11) NOT NULL,
      paid_date_fk INT(11),
      delivered_date_fk INT(11),
      days_to_pay INT(11),
      days_to_deliver INT(11)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""

PROGRAM_MEMBERSHIP_FACT = """
    CREATE TABLE program_membership_fact (
      disability_program_fk INT(11) NOT NULL,
      user_fk INT(11) NOT NULL,
      date_fk INT(11) NOT NULL,
      PRIMARY KEY (disability_program_fk, user_fk)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""

PRODUCT_REVIEW_FACT = """
    CREATE TABLE product_review_fact (
      review_id INT(11) NOT NULL PRIMARY KEY,
      product_fk INT(11) NOT NULL,
      user_fk INT(11) NOT NULL,
      date_fk INT(11) NOT NULL,
      rating TINYINT NOT NULL
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""
