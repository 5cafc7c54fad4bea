"""The fields of an item in Google Merchant feeds and in Meta's catalogue feeds."""

from __future__ import annotations

from wearalike.feeds.fields import Field, Slot, fields_of, index_fields

_SHARED_FIELDS: tuple[Field, ...] = (
    Field("id", Slot.ID),
    Field("title", Slot.TITLE),
    Field("description", Slot.DESCRIPTION),
    Field("link", Slot.URL),
    Field("image_link", Slot.PICTURE),
    Field("additional_image_link", Slot.FURTHER_PICTURE, "may be repeated"),
    Field("availability", Slot.AVAILABILITY),
    Field("expiration_date", Slot.EXPIRY),
    Field("price", Slot.PRICE),
    Field("sale_price", Slot.SALE_PRICE),
    Field("sale_price_effective_date", Slot.SALE_DATES),
    Field("google_product_category", Slot.GOOGLE_CATEGORY, "a number or a path"),
    Field("product_type", Slot.CATEGORY, "may be repeated"),
    Field("brand", Slot.BRAND),
    Field("gtin", Slot.GTIN),
    Field("mpn", Slot.VENDOR_CODE),
    Field("condition", Slot.CONDITION),
    Field("age_group", Slot.AGE),
    Field("color", Slot.COLOUR),
    Field("gender", Slot.GENDER),
    Field("material", Slot.MATERIAL),
    Field("pattern", Slot.PATTERN),
    Field("size", Slot.SIZE),
    Field("size_system", Slot.SIZE_SYSTEM),
    Field("item_group_id", Slot.GROUP, "letter case is ignored"),
    Field("additional_variant_attribute", Slot.PARAM, "label and value"),
    Field("product_detail", Slot.PARAM, "attribute_name and attribute_value"),
    *fields_of(
        Slot.IGNORED,
        *("custom_label_0", "custom_label_1", "custom_label_2", "custom_label_3"),
        *("custom_label_4", "shipping", "shipping_weight", "size_type"),
        note="says nothing of looks or sale",
    ),
)

# Fields that plug-ins of shop systems write, and neither format has.
_PLUGIN_FIELDS: tuple[Field, ...] = (
    *fields_of(Slot.OLD_PRICE, "compare_at_price", "regular_price", "old_price", "base_price"),
    *fields_of(
        Slot.SALE_PRICE, "special_price", "discount_price", note="where there is no sale_price"
    ),
    *fields_of(Slot.STOCK, "stock", "stock_quantity", "quantity_in_stock", "qty"),
    *fields_of(Slot.AVAILABILITY, "stock_status", note="where there is no availability"),
    *fields_of(
        Slot.GROUP, "group_id", "parent_id", "parent_sku", note="where there is no item_group_id"
    ),
    *fields_of(Slot.FURTHER_PICTURE, "additional_image_links", "additional_image", "images"),
)

GOOGLE_FIELDS: tuple[Field, ...] = (
    *_SHARED_FIELDS,
    *_PLUGIN_FIELDS,
    *fields_of(Slot.DESCRIPTION, "summary", "content", note="where there is no description"),
    *fields_of(Slot.TITLE, "structured_title", "short_title", note="where there is no title"),
    Field("structured_description", Slot.DESCRIPTION, "where there is no description"),
    Field("canonical_link", Slot.URL, "where there is no link"),
    Field("mobile_link", Slot.URL, "where there is no link"),
    Field("lifestyle_image_link", Slot.FURTHER_PICTURE),
    Field("enclosure", Slot.PICTURE, "where there is no image_link"),
    Field("quantity", Slot.STOCK),
    Field(
        "related_product",
        Slot.RELATED,
        "relationship_type, identifier_type and identifier; by id, of what is sold beside it",
    ),
    Field("adult", Slot.ADULT),
    Field("excluded_destination", Slot.DESTINATION),
    *fields_of(
        Slot.IGNORED,
        *("included_destination", "shopping_ads_excluded_country", "ads_redirect", "promotion_id"),
        *("ads_labels", "ads_grouping", "adwords_redirect", "adwords_labels", "adwords_grouping"),
        *("display_ads_id", "display_ads_link", "display_ads_similar_ids", "display_ads_title"),
        *("display_ads_value", "external_seller_id", "link_template", "mobile_link_template"),
        *("shopping_ads_excluded_countries", "sell_on_google_quantity", "disclosure_date"),
        *("pause", "checkout_link_template", "included_country", "store_code", "custom_score"),
        note="for advertising",
    ),
    *fields_of(
        Slot.IGNORED,
        *("shipping_label", "shipping_length", "shipping_width", "shipping_height"),
        *("ships_from_country", "transit_time_label", "max_handling_time", "min_handling_time"),
        *("shipping_handling_business_days", "shipping_transit_business_days", "carrier_shipping"),
        *("handling_cutoff_time", "minimum_order_value", "free_shipping_threshold"),
        *("pickup_method", "pickup_sla", "return_policy_label", "return_address_label"),
        *("tax", "tax_category", "pickup_link_template", "mobile_pickup_link_template"),
        note="how goods are delivered and taxed",
    ),
    *fields_of(
        Slot.IGNORED,
        *("cost_of_goods_sold", "auto_pricing_min_price", "maximum_retail_price", "installment"),
        *("unit_pricing_measure", "unit_pricing_base_measure", "subscription_cost"),
        *("loyalty_program", "loyalty_points", "availability_date", "multipack", "is_bundle"),
        *("identifier_exists", "certification", "energy_efficiency_class"),
        *("min_energy_efficiency_class", "max_energy_efficiency_class", "product_highlight"),
        *("product_length", "product_width", "product_height", "product_weight", "video_link"),
        *(
            "virtual_model_link",
            "3d_model_link",
            "consumer_datasheet",
            "warranty",
            "question_and_answer",
        ),
        *("document_link", "popularity_rank", "item_group_title"),
        *("variant_option", "minimum_advertised_price", "excluded_country"),
        note="says nothing of looks or sale",
    ),
    *fields_of(
        Slot.IGNORED,
        *("updated", "published", "author", "pubDate", "guid", "category", "comments", "source"),
        *("rights", "contributor"),
        note="of RSS and Atom",
    ),
)

META_FIELDS: tuple[Field, ...] = (
    *_SHARED_FIELDS,
    Field("mobile_link", Slot.URL, "where there is no link"),
    Field("rich_text_description", Slot.DESCRIPTION, "where there is no description"),
    Field("image", Slot.FURTHER_PICTURE, "image[0].url, or a list in JSON"),
    Field("inventory", Slot.STOCK),
    Field("quantity_to_sell_on_facebook", Slot.STOCK),
    Field("status", Slot.STATUS, "archived"),
    Field("visibility", Slot.STATUS, "hidden, staging or whitelist_only"),
    Field("fb_product_category", Slot.CATEGORY),
    Field("sale_price_start_date", Slot.SALE_START),
    Field("sale_price_end_date", Slot.SALE_END),
    Field("product_line", Slot.IGNORED, "says nothing of looks or sale"),
    *fields_of(
        Slot.IGNORED,
        *("style", "sleeve_length", "neckline", "closure", "occasion", "season", "heel_height"),
        *("heel_type", "toe_style", "collar_style", "rise", "skirt_length", "dress_length"),
        *("fit_type", "is_assembly_required", "capacity", "care_instructions", "gemstone"),
        *("video", "product_tags", "internal_label", "rating", "number_of_reviews", "features"),
        *("custom_number_0", "custom_number_1", "custom_number_2", "custom_number_3"),
        *("custom_number_4", "unit_price", "minimum_order_quantity", "launch_date"),
        *("additional_features", "package_quantity", "gtin_type", "multipack_quantity"),
        note="says nothing of looks or sale",
    ),
    *fields_of(
        Slot.IGNORED,
        *("commerce_tax_category", "return_policy_info", "return_policy_days", "origin_country"),
        *("importer_name", "importer_address", "manufacturer_info", "manufacturer_part_number"),
        *("wa_compliance_category", "marked_for_product_launch", "applink"),
        *("ios_url", "ios_app_store_id", "ios_app_name", "iphone_url", "iphone_app_store_id"),
        *("iphone_app_name", "ipad_url", "ipad_app_store_id", "ipad_app_name", "android_url"),
        *("android_package", "android_class", "android_app_name", "windows_phone_url"),
        *("windows_phone_app_id", "windows_phone_app_name", "disabled_capabilities"),
        *("checkout_url", "loyalty_program", "payment_options", "ships_from_country"),
        note="for the marketplace",
    ),
)
GOOGLE_SLOTS = {**index_fields(META_FIELDS), **index_fields(GOOGLE_FIELDS)}
