"""What the facts mean.

Pygrametl's fact table classes, and how each foreign key finds its dimension member.
"""

from pygrametl.tables import AccumulatingSnapshotFactTable, BatchFactTable, FactTable

from pypelineetl import date_key, factory, member

# One row per line of an order. Seller and buyer are both users, as they were when the sale was
# made.
product_sale = factory(
    FactTable,
    name="product_sale_fact",
    keyrefs=[
        "order_id",
        "line_number",
        "product_fk",
        "course_fk",
        "school_fk",
        "seller_fk",
        "buyer_fk",
        "payment_source_fk",
        "affiliate_fk",
        "site_fk",
        "date_fk",
        "local_date_fk",
        "sale_datetime",
    ],
    measures=["quantity", "gross_amount", "discount_amount", "net_amount"],
)
product_sale_keys = {
    "product_fk": member(
        "product", product_id="product_id", missing="infer"
    ),  # it may be deleted by now
    "course_fk": member("course", course_id="course_id"),
    "school_fk": member("school", school_id="school_id"),
    "seller_fk": member("user", user_id="seller_id", as_of="sale_datetime"),
    "buyer_fk": member(
        "user", user_id="buyer_id", as_of="sale_datetime", missing="infer"
    ),  # or not here yet
    "payment_source_fk": member("payment_source", payment_source_id="payment_source_id"),
    "affiliate_fk": member("affiliate", affiliate_id="affiliate_id"),
    "site_fk": member("site", site_id="site_id"),
    "date_fk": date_key("sale_datetime", tz="UTC"),
    "local_date_fk": date_key("sale_datetime", tz="US/Eastern"),
}

# One row per product that was uploaded.
product_upload = factory(
    FactTable,
    name="product_upload_fact",
    keyrefs=["product_fk", "seller_fk", "course_fk", "school_fk", "date_fk", "local_date_fk"],
    measures=["list_price"],
)
product_upload_keys = {
    "product_fk": member("product", product_id="product_id"),
    "seller_fk": member("user", user_id="seller_id", as_of="upload_datetime"),
    "course_fk": member("course", course_id="course_id"),
    "school_fk": member("school", school_id="school_id"),
    "date_fk": date_key("upload_datetime", tz="UTC"),
    "local_date_fk": date_key("upload_datetime", tz="US/Eastern"),
}

# One row per order, filled in as it is paid and delivered.
order_fulfillment = factory(
    AccumulatingSnapshotFactTable,
    name="order_fulfillment_fact",
    keyrefs=["order_id"],
    otherrefs=["buyer_fk", "ordered_date_fk", "paid_date_fk", "delivered_date_fk"],
    measures=["days_to_pay", "days_to_deliver"],
)
order_fulfillment_keys = {
    "buyer_fk": member("user", user_id="buyer_id", as_of="ordered_at", missing="infer"),
    "ordered_date_fk": date_key("ordered_at"),
    "paid_date_fk": date_key("paid_at"),
    "delivered_date_fk": date_key("delivered_at"),
}

# A factless fact: who belongs to which program since when.
program_membership = factory(
    FactTable,
    name="program_membership_fact",
    keyrefs=["disability_program_fk", "user_fk", "date_fk"],
)
program_membership_keys = {
    "disability_program_fk": member("disability_program", disability_program_id="program_id"),
    "user_fk": member("user", user_id="user_id", as_of="joined_at"),
    "date_fk": date_key("joined_at"),
}

# One row per review, of which there are many: pygrametl gathers them into batches.
product_review = factory(
    BatchFactTable,
    name="product_review_fact",
    keyrefs=["review_id", "product_fk", "user_fk", "date_fk"],
    measures=["rating"],
)
product_review_keys = {
    "product_fk": member("product", product_id="product_id", missing="infer"),
    "user_fk": member("user", user_id="user_id", as_of="written_at"),
    "date_fk": date_key("written_at"),
}
